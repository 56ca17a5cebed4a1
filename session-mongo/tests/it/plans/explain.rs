//! The server's query plans.

use std::collections::BTreeSet;

use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};

/// The plan that the server chooses for a command.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) stages: BTreeSet<String>,
    pub(super) indexes: BTreeSet<String>,
    /// The server's full answer.
    pub(super) text: String,
}

impl Plan {
    pub(super) async fn of(database: &Database, command: &Document) -> Self {
        let explain = doc! { "explain": command.clone(), "verbosity": "queryPlanner" };
        let reply = database.run_command(explain).await.unwrap_or_else(|error| panic!("{command}: {error}"));
        let mut plan = Self { text: reply.to_string(), ..Self::default() };
        plan.read(&Bson::Document(reply));
        plan
    }

    /// Collects the winning plans: of one server, of several shards, or within the stages of a
    /// pipeline.
    fn read(&mut self, value: &Bson) {
        match value {
            Bson::Document(document) => {
                for (name, value) in document {
                    match name.as_str() {
                        "winningPlan" => self.read_stage(value),
                        "rejectedPlans" => {}
                        _ => self.read(value),
                    }
                }
            }
            Bson::Array(values) => values.iter().for_each(|value| self.read(value)),
            _ => {}
        }
    }

    fn read_stage(&mut self, value: &Bson) {
        match value {
            Bson::Document(document) => {
                let text = |name| document.get_str(name).ok().map(str::to_owned);
                self.stages.extend(text("stage"));
                self.indexes.extend(text("indexName"));
                document.values().for_each(|value| self.read_stage(value));
            }
            Bson::Array(values) => values.iter().for_each(|value| self.read_stage(value)),
            _ => {}
        }
    }

    /// Returns true if the plan uses the index of the ids. Servers have several stages for it.
    pub(super) fn is_by_id(&self) -> bool {
        let express = ["IDHACK", "EXPRESS_IXSCAN", "EXPRESS_UPDATE", "EXPRESS_DELETE", "CLUSTERED_IXSCAN"];
        let is_express = express.iter().any(|stage| self.stages.contains(*stage));
        let ids = BTreeSet::from(["_id_".to_owned()]);
        self.indexes.is_subset(&ids) && (is_express || self.indexes == ids)
    }

    pub(super) fn has(&self, stage: &str) -> bool {
        self.stages.contains(stage)
    }
}
