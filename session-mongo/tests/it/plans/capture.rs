//! The commands that a store sends, captured from the driver's events.

use std::sync::Arc;

use mongodb::Client;
use mongodb::bson::{Bson, Document};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;
use parking_lot::Mutex;

use crate::support::{Lab, fresh_name, server_url};

/// The commands that a client sent.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<Vec<Document>>>);

impl Sent {
    /// Returns the commands since the last call.
    pub(crate) fn take(&self) -> Vec<Document> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// Returns a collection whose client records the commands that it sends.
pub(crate) async fn lab() -> Option<(Lab, Sent)> {
    let mut options = ClientOptions::parse(server_url()?).await.unwrap();
    let sent = Sent::default();
    let seen = sent.clone();
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(event) = event {
            seen.0.lock().push(event.command);
        }
    }));
    let client = Client::with_options(options).unwrap();
    let database = client.default_database().unwrap();
    Some((Lab { database, name: fresh_name() }, sent))
}

/// Returns the name of a command.
pub(crate) fn name(command: &Document) -> &str {
    command.keys().next().unwrap()
}

pub(crate) fn names(commands: &[Document]) -> Vec<&str> {
    commands.iter().map(name).collect()
}

/// Returns each statement of a command as a command that the server can explain: without the fields
/// of a connection or a transaction.
pub(crate) fn explainable(command: &Document) -> Vec<Document> {
    let kept = |names: &[&str]| -> Document {
        let kept = command.iter().filter(|(name, _)| names.contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let each = |name: &str, statements: &str| -> Vec<Document> {
        let one = |statement: &Bson| {
            let mut one = kept(&[name]);
            one.insert(statements, vec![statement.clone()]);
            one
        };
        command.get_array(statements).unwrap().iter().map(one).collect()
    };
    match name(command) {
        "find" => vec![kept(&["find", "filter", "sort", "projection", "limit", "batchSize", "singleBatch"])],
        "aggregate" => vec![kept(&["aggregate", "pipeline", "cursor"])],
        "findAndModify" => vec![kept(&["findAndModify", "query", "update", "new", "fields"])],
        "update" => each("update", "updates"),
        "delete" => each("delete", "deletes"),
        _ => Vec::new(),
    }
}
