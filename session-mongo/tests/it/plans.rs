//! Every command that a store sends uses an index, and no operation sends more commands than
//! needed.

pub(crate) mod capture;
mod commands;
mod explain;

use std::fmt::Debug;
use std::future::Future;

use mongodb::Database;
use mongodb::bson::Document;
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record, record_at, touch, user};
use session_core::prelude::*;
use session_core::{DeviceId, SessionKind};
use session_mongo::{LimitMethod, MongoStore};

use self::capture::Sent;
use self::explain::Plan;
use crate::support::{Lab, create};

/// The number of sessions and of their users.
const SESSIONS: u64 = 400;
const USERS: u64 = 40;

/// The plans that are allowed for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Uses the index of the ids.
    Id,
    /// Scans a part of the index, in its order.
    Ordered(&'static str),
    /// Scans parts of the index, which are merged or sorted.
    Parts(&'static str),
    /// Uses any index of the store, for listings that several indexes can serve.
    Any,
    /// Uses the ids of a batch, or the index by which they were found.
    Batch(&'static str),
}

impl Rule {
    fn allows(self, plan: &Plan) -> bool {
        let is_only = |index: &str| plan.indexes.len() == 1 && plan.indexes.contains(index);
        let is_sorted = plan.has("SORT") || plan.has("SORT_MERGE");
        let is_right = match self {
            Self::Id => plan.is_by_id() && !is_sorted,
            Self::Ordered(index) => is_only(index) && !is_sorted,
            Self::Parts(index) => is_only(index),
            Self::Any => plan.indexes.iter().any(|index| index.starts_with("session_")),
            Self::Batch(index) => plan.is_by_id() || is_only(index),
        };
        is_right && !plan.has("COLLSCAN")
    }
}

struct Plans {
    database: Database,
    sent: Sent,
    wrong: Vec<String>,
    explained: usize,
}

impl Plans {
    /// Runs a call, and checks each command that it sent against its rule.
    async fn check<T: Debug>(
        &mut self,
        name: &str,
        rules: &[(&str, Rule)],
        call: impl Future<Output = Result<T>>,
    ) {
        self.sent.take();
        if let Err(error) = call.await {
            panic!("{name}: {error:?}");
        }
        let mut checked = vec![false; rules.len()];
        for command in self.sent.take() {
            let sent = capture::name(&command);
            let Some(which) = rules.iter().position(|(kind, _)| *kind == sent) else {
                assert!(is_without_plan(&command), "{name}: no rule for {command}");
                continue;
            };
            checked[which] = true;
            for statement in capture::explainable(&command) {
                self.explain(name, &statement, rules[which].1).await;
            }
        }
        assert!(checked.iter().all(|is_checked| *is_checked), "{name}: sent only some of {rules:?}");
    }

    async fn explain(&mut self, name: &str, statement: &Document, rule: Rule) {
        let plan = Plan::of(&self.database, statement).await;
        self.explained += 1;
        if !rule.allows(&plan) {
            let (stages, indexes) = (&plan.stages, &plan.indexes);
            self.wrong.push(format!("{name}, {rule:?}: {statement}\n{stages:?} {indexes:?}\n{}", plan.text));
        }
    }

    fn finish(self, least: usize) {
        assert!(self.wrong.is_empty(), "{} wrong plans:\n{}", self.wrong.len(), self.wrong.join("\n\n"));
        assert!(self.explained >= least, "explained {} statements only", self.explained);
    }
}

fn is_without_plan(command: &Document) -> bool {
    ["insert", "hello", "commitTransaction", "abortTransaction"].contains(&capture::name(command))
}

/// Fills a collection: each user has some active and some ended sessions. Also returns the device
/// of the last active session.
async fn filled() -> Option<(Plans, Lab, MongoStore, Vec<SessionId>, DeviceId)> {
    let (lab, sent) = capture::lab().await?;
    let store = lab.store();
    store.ensure_indexes().await.unwrap();
    let mut all = Vec::new();
    let mut device = None;
    for number in 0..SESSIONS {
        let mut session = full(&format!("user-{}", number % USERS));
        session.id = record_at(&format!("user-{}", number % USERS), number).id;
        session.created_at = at(number);
        session.last_seen_at = at(number);
        if number == SESSIONS - 2 {
            device = session.device_id;
        }
        all.push(create(&store, session).await.id);
    }
    for ended in all.chunks(3) {
        store.end(&EndScope::id(ended[0]), &logged_out(SESSIONS), Timestamp::MAX).await.unwrap();
    }
    let plans = Plans { database: lab.database.clone(), sent, wrong: Vec::new(), explained: 0 };
    Some((plans, lab, store, all, device.unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listing_uses_its_index_and_its_order() {
    let Some((mut plans, _, store, all, device)) = filled().await else { return };
    let ann = user("user-7");
    let cursor = Cursor::new(at(SESSIONS / 2), all[all.len() / 2]);
    for state in [StateFilter::Any, StateFilter::Ended, StateFilter::Live(NOW)] {
        for parts in 0..64 {
            let mut query = ListQuery::default().with_state(state);
            query.user = (parts & 1 != 0).then(|| ann.clone());
            query.username = (parts & 2 != 0).then(|| format!("name of {ann}"));
            query.kind = (parts & 4 != 0).then_some(SessionKind::Web);
            query.created_since = (parts & 8 != 0).then(|| at(30));
            query.after = (parts & 16 != 0).then_some(cursor);
            query.device = (parts & 32 != 0).then_some(device);
            let rule = listing_rule(parts, state);
            plans.check(&format!("{query:?}"), &[("find", rule)], store.list(&query)).await;
        }
    }
    plans.finish(192);
}

fn listing_rule(parts: u32, state: StateFilter) -> Rule {
    match (parts & 3, state) {
        (1, StateFilter::Any) => Rule::Parts("session_user"),
        (1, _) if parts & 16 == 0 => Rule::Ordered("session_user"),
        // Some planners read a position as two ranges.
        (1, _) => Rule::Parts("session_user"),
        (2, StateFilter::Any) => Rule::Parts("session_username"),
        (2, _) if parts & 16 == 0 => Rule::Ordered("session_username"),
        (2, _) => Rule::Parts("session_username"),
        (0, StateFilter::Any) if parts & 16 == 0 => Rule::Ordered("session_created"),
        _ => Rule::Any,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_command_uses_its_index() {
    let Some((mut plans, lab, store, all, device)) = filled().await else { return };
    plans.check("load one", &[("find", Rule::Id)], store.load(&all[..1])).await;
    plans.check("load many", &[("find", Rule::Id)], store.load(&all[..300])).await;
    let touches: Vec<_> = all[1..20].iter().map(|id| touch(*id, 1_000)).collect();
    plans.check("touch", &[("update", Rule::Id)], store.touch(&touches, NOW)).await;
    let loaded = store.load(&all[31..32]).await.unwrap().remove(0);
    plans.check("save", &[("update", Rule::Id)], store.update(Arc::clone(&loaded), loaded.revision)).await;

    plans.limits(&lab).await;
    plans.ends(&store, &all, device).await;
    let rules = [("find", Rule::Ordered("session_user")), ("update", Rule::Batch("session_user"))];
    plans.check("erase", &rules, store.erase(&user("user-3"), 10)).await;
    let rules =
        [("find", Rule::Ordered("session_deadline")), ("findAndModify", Rule::Batch("session_deadline"))];
    plans.check("sweep", &rules, store.expire(at(2_000_000), 10)).await;
    plans.finish(60);
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_uses_its_indexes() {
    let Some((plans, lab, store, _, _)) = filled().await else { return };
    plans.sent.take();
    assert_eq!(store.purge(at(SESSIONS + 1), 10).await.unwrap(), 10);
    let sent = plans.sent.take();
    assert_eq!(capture::names(&sent), ["find", "delete", "find"]);
    let rules = [Rule::Ordered("session_end"), Rule::Any, Rule::Ordered("session_deadline")];
    for (command, rule) in sent.iter().zip(rules) {
        let deletes = capture::name(command) == "delete";
        for statement in capture::explainable(command) {
            let plan = Plan::of(&lab.database, &statement).await;
            let is_allowed = rule.allows(&plan) || (deletes && plan.is_by_id());
            assert!(is_allowed, "{statement}\n{:?} {:?}", plan.stages, plan.indexes);
        }
    }
}

impl Plans {
    async fn limits(&mut self, lab: &Lab) {
        for method in [LimitMethod::Transaction, LimitMethod::CompareAndSet] {
            let limited = lab.builder().limit_method(method).build().unwrap();
            // The first sign-in of a shard creates its turn.
            let many = limit(1_000, OnExceed::Refuse, 1);
            limited.create(record("user-5").into(), Some(&many)).await.unwrap();
            self.sent.take();
            for number in 0..2 {
                let rules: &[_] = match method {
                    LimitMethod::Transaction => &[
                        ("find", Rule::Ordered("session_user")),
                        ("findAndModify", Rule::Id),
                        ("update", Rule::Batch("session_user")),
                    ],
                    _ => &[("find", Rule::Batch("session_user")), ("update", Rule::Id)],
                };
                let mut new = record("user-5");
                new.created_at = at(SESSIONS + number);
                new.last_seen_at = new.created_at;
                let one = limit(1, OnExceed::EndOldest, SESSIONS + 9);
                let create = limited.create(new.into(), Some(&one));
                self.check(&format!("{method:?}"), rules, create).await;
            }
        }
    }

    async fn ends(&mut self, store: &MongoStore, all: &[SessionId], device: DeviceId) {
        let (id, until) = (Rule::Id, at(SESSIONS));
        let one = EndScope::id(all[100]);
        self.check("end of one", &[("findAndModify", id)], store.end(&one, &logged_out(900), until)).await;
        let many = EndScope::Ids(all[100..120].to_vec());
        self.check(
            "end of many",
            &[("findAndModify", Rule::Batch("_id_"))],
            store.end(&many, &logged_out(900), until),
        )
        .await;
        let rules = [("find", Rule::Ordered("session_user")), ("findAndModify", Rule::Batch("session_user"))];
        let last = user(&format!("user-{}", USERS - 2));
        let scope = EndScope::Device { user: last.clone(), device };
        self.check("end of a device", &rules, store.end(&scope, &logged_out(900), until)).await;
        let scope = EndScope::UserExcept { user: user("user-3"), keep: all[3] };
        self.check("end of a user but one", &rules, store.end(&scope, &logged_out(900), until)).await;
        self.check("end of a user", &rules, store.end(&EndScope::User(last), &logged_out(900), until)).await;
    }
}
