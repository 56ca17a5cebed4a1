//! A server that answers what a primary answers that steps down, shuts down, waits in vain for its members, or refuses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mongodb::bson::{Bson, Document, doc};
use session_conformance::fixtures::{at, full, limit, logged_out, record, record_at, user};
use session_core::prelude::*;
use session_servers::{Kind, Options};

use super::calls::{assert_fails, assert_transient, assert_works, call, given, in_time, sign_in};
use super::lab::{Lab, Stores, stored, wait_until};
use super::{DEADLINE, PATIENT, cases};

cases!(
    a_primary_that_steps_down_is_asked_again_and_is_an_outage_if_it_stays_so,
    a_connection_that_is_closed_is_asked_again_and_is_an_outage_if_it_stays_so,
    a_write_that_too_few_members_confirmed_is_never_a_success,
    a_sign_in_that_too_few_members_confirmed_is_never_a_success,
    a_refusal_is_what_it_is,
    a_transaction_that_conflicts_begins_again,
    a_commit_whose_outcome_is_unknown_happens_once,
    a_command_that_hangs_costs_one_call,
    sign_ins_that_hang_do_not_keep_connections_from_requests,
);

/// An operation, the command that fails, and whether the driver sends that once more.
const FAILING: [(&str, &str, bool); 9] = [
    ("load", "find", true),
    ("create", "insert", true),
    ("update", "update", true),
    ("touch", "update", false),
    ("end of a user", "findAndModify", true),
    ("list", "find", true),
    ("purge", "delete", false),
    ("erase", "update", false),
    ("stats", "aggregate", true),
];

/// `PrimarySteppedDown`, `NotWritablePrimary`, `InterruptedDueToReplStateChange`, `ShutdownInProgress`, `NotPrimaryNoSecondaryOk`,
/// `InterruptedAtShutdown`.
const STEP_DOWNS: [i32; 6] = [189, 10107, 11602, 91, 13435, 11600];

/// A server that fails when it is told to.
struct Failing {
    stores: Stores,
    other: Stores,
    _lab: Lab,
}

impl Failing {
    async fn start() -> Option<Self> {
        let lab = Lab::start_with(Kind::MongodbFailPoints, &Options::default()).await?;
        Some(Self { stores: lab.stores().await, other: lab.stores().await, _lab: lab })
    }

    async fn set(&self, mode: impl Into<Bson>, data: Document) {
        let command = doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": data };
        self.other.client.database("admin").run_command(command).await.unwrap();
    }

    /// Lets the next commands of this name fail.
    async fn fail(&self, times: i32, command: &str, what: Document) {
        let mut data = doc! { "failCommands": [command] };
        data.extend(what);
        self.set(doc! { "times": times }, data).await;
    }

    async fn fail_always(&self, command: &str, what: Document) {
        let mut data = doc! { "failCommands": [command] };
        data.extend(what);
        self.set("alwaysOn", data).await;
    }

    async fn heal(&self) {
        self.set("off", doc! {}).await;
    }

    /// Something for each operation to find.
    async fn prepare(&self) -> Arc<SessionRecord> {
        let store = &self.other.store;
        let ended = given(store, "ann").await;
        store.end(&EndScope::id(ended.id), &logged_out(6), Timestamp::MAX).await.unwrap();
        given(store, "ann").await;
        given(store, "dora").await
    }

    async fn try_call(&self, name: &str, session: &Arc<SessionRecord>) -> Result<()> {
        in_time(PATIENT, name, call(&self.stores, name, session)).await
    }

    /// Makes a call whose command fails once, and one whose command fails always.
    async fn assert_repeated(&self, name: &str, command: &str, is_repeated: bool, what: Document) {
        let session = self.prepare().await;
        self.fail(1, command, what.clone()).await;
        let once = self.try_call(name, &session).await;
        if is_repeated {
            once.unwrap_or_else(|error| panic!("{name} {what}: {error:?}"));
        } else {
            assert_fails(name, ErrorKind::Unavailable, once);
        }
        let session = self.prepare().await;
        self.fail_always(command, what).await;
        assert_fails(name, ErrorKind::Unavailable, self.try_call(name, &session).await);
        self.heal().await;
    }

    async fn assert_kind(&self, name: &str, command: &str, code: i32, kind: ErrorKind) {
        let session = self.prepare().await;
        self.fail_always(command, doc! { "errorCode": code }).await;
        assert_fails(&format!("{name} {code}"), kind, self.try_call(name, &session).await);
        self.heal().await;
    }

    async fn live(&self, name: &str) -> Vec<SessionId> {
        let query = ListQuery::default().with_user(user(name)).with_state(StateFilter::Live(at(500)));
        let page = self.other.store.list(&query).await.unwrap();
        page.records.iter().map(|record| record.id).collect()
    }
}

async fn a_primary_that_steps_down_is_asked_again_and_is_an_outage_if_it_stays_so() {
    let Some(failing) = Failing::start().await else { return };
    let codes = STEP_DOWNS.into_iter().cycle();
    for ((name, command, is_repeated), code) in FAILING.into_iter().zip(codes) {
        failing.assert_repeated(name, command, is_repeated, doc! { "errorCode": code }).await;
    }
    assert_works(&failing.stores).await;
}

async fn a_connection_that_is_closed_is_asked_again_and_is_an_outage_if_it_stays_so() {
    let Some(failing) = Failing::start().await else { return };
    for (name, command, is_repeated) in FAILING {
        failing.assert_repeated(name, command, is_repeated, doc! { "closeConnection": true }).await;
    }
    assert_works(&failing.stores).await;
}

fn unconfirmed(code: i32) -> Document {
    doc! { "writeConcernError": { "code": code, "errmsg": "not confirmed" } }
}

async fn a_write_that_too_few_members_confirmed_is_never_a_success() {
    let Some(failing) = Failing::start().await else { return };
    let store = &failing.stores.store;
    for (code, kind) in [(64, ErrorKind::Timeout), (100, ErrorKind::Unavailable)] {
        let session = Arc::new(full("dora"));
        failing.fail_always("insert", unconfirmed(code)).await;
        assert_fails("create", kind, store.create(Arc::clone(&session), None).await);
        assert!(stored(store, session.id).await.is_some(), "the primary has it");
        for name in ["update", "touch"] {
            failing.fail_always("update", unconfirmed(code)).await;
            assert_fails(name, kind, failing.try_call(name, &session).await);
        }
        failing.fail_always("findAndModify", unconfirmed(code)).await;
        let scope = EndScope::id(session.id);
        assert_fails("end", kind, store.end(&scope, &logged_out(6), Timestamp::MAX).await);
        assert!(stored(store, session.id).await.unwrap().ended().is_some());
        failing.heal().await;
        failing.prepare().await;
        for (name, command) in [("erase", "update"), ("purge", "delete")] {
            failing.fail_always(command, unconfirmed(code)).await;
            assert_fails(name, kind, failing.try_call(name, &session).await);
        }
        failing.heal().await;
    }
    assert_works(&failing.stores).await;
}

async fn a_sign_in_that_too_few_members_confirmed_is_never_a_success() {
    let Some(failing) = Failing::start().await else { return };
    let limit = limit(2, OnExceed::EndOldest, 500);
    let commands = [(&failing.stores.store, "commitTransaction"), (&failing.stores.turns, "update")];
    for (store, command) in commands {
        for (code, kind) in [(64, ErrorKind::Timeout), (100, ErrorKind::Unavailable)] {
            let name = format!("{command} {code}");
            let [one, two, three, four] = [0, 1, 2, 3].map(|millis| Arc::new(record_at(&name, millis)));
            for session in [&one, &two] {
                store.create(Arc::clone(session), Some(&limit)).await.unwrap();
            }
            failing.fail_always(command, unconfirmed(code)).await;
            let answer = in_time(PATIENT, &name, store.create(Arc::clone(&three), Some(&limit))).await;
            assert_fails(&name, kind, answer);
            failing.heal().await;
            assert!(failing.live(&name).await.len() <= 2);
            store.create(Arc::clone(&four), Some(&limit)).await.unwrap();
            assert_eq!(failing.live(&name).await, [four.id, three.id], "{name}: the primary had it");
        }
    }
}

async fn a_refusal_is_what_it_is() {
    let Some(failing) = Failing::start().await else { return };
    let kinds = [
        (13, ErrorKind::Unavailable),
        (50, ErrorKind::Timeout),
        (262, ErrorKind::Timeout),
        (8000, ErrorKind::Other),
        (4_242, ErrorKind::Other),
    ];
    for (code, kind) in kinds {
        for (name, command, _) in FAILING {
            failing.assert_kind(name, command, code, kind).await;
        }
    }
    assert_works(&failing.stores).await;
}

async fn a_transaction_that_conflicts_begins_again() {
    let Some(failing) = Failing::start().await else { return };
    let limit = limit(1, OnExceed::EndOldest, 500);
    let conflict = doc! { "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    let mut before = record("ann").id;
    failing.other.store.create(Arc::new(record_at("ann", 0)), Some(&limit)).await.unwrap();
    for (round, command) in ["find", "findAndModify", "insert", "update"].into_iter().enumerate() {
        let new = Arc::new(record_at("ann", 1 + round as u64));
        let previous = failing.live("ann").await;
        failing.fail(3, command, conflict.clone()).await;
        let create = failing.stores.store.create(Arc::clone(&new), Some(&limit));
        let evicted = in_time(PATIENT, command, create).await.unwrap();
        assert_eq!(evicted.iter().map(|record| record.id).collect::<Vec<_>>(), previous, "{command}");
        assert_eq!(failing.live("ann").await, [new.id]);
        assert_ne!(new.id, std::mem::replace(&mut before, new.id));
    }
    // Nobody gets through, and nobody is told that there is no place.
    failing.fail_always("insert", conflict).await;
    let create = failing.stores.store.create(Arc::new(record_at("ann", 9)), Some(&limit));
    // Longer than the store itself goes on, so that no attempt is under way when the server is well again.
    assert_transient("create", in_time(6 * DEADLINE, "create", create).await);
    failing.heal().await;
    assert_eq!(failing.live("ann").await, [before]);
    assert_works(&failing.stores).await;
}

async fn a_commit_whose_outcome_is_unknown_happens_once() {
    let Some(failing) = Failing::start().await else { return };
    let limit = limit(1, OnExceed::EndOldest, 500);
    let unknown = [
        doc! { "errorCode": 91, "errorLabels": ["RetryableWriteError", "UnknownTransactionCommitResult"] },
        doc! { "errorCode": 50, "errorLabels": ["UnknownTransactionCommitResult"] },
        doc! { "closeConnection": true },
        unconfirmed(64),
        unconfirmed(91),
    ];
    let mut previous = Vec::new();
    for (round, what) in unknown.into_iter().enumerate() {
        for times in [1, 2] {
            let new = Arc::new(record_at("ann", 10 * round as u64 + u64::from(times == 2)));
            failing.fail(times, "commitTransaction", what.clone()).await;
            let create = failing.stores.store.create(Arc::clone(&new), Some(&limit));
            let evicted = in_time(PATIENT, "create", create).await;
            let evicted = evicted.unwrap_or_else(|error| panic!("{what} {times}: {error:?}"));
            assert_eq!(evicted.iter().map(|record| record.id).collect::<Vec<_>>(), previous, "{what}");
            previous = failing.live("ann").await;
            assert_eq!(previous, [new.id]);
        }
    }
    assert_works(&failing.stores).await;
}

async fn a_command_that_hangs_costs_one_call() {
    let Some(failing) = Failing::start().await else { return };
    let blocked = doc! { "blockConnection": true, "blockTimeMS": 20_000 };
    for (name, command, _) in FAILING {
        let session = failing.prepare().await;
        failing.fail(1, command, blocked.clone()).await;
        let patience = Duration::from_secs(1);
        let dropped = in_time(patience, name, call(&failing.stores, name, &session)).await;
        assert_fails(name, ErrorKind::Timeout, dropped);
        // The one that hangs still does, and no other will: on a busy machine it may not have been sent yet.
        failing.heal().await;
        // At once, and not behind the one that hangs.
        let began = Instant::now();
        let session = failing.prepare().await;
        failing.try_call(name, &session).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "{name} waited for {:?}", began.elapsed());
    }
    assert_works(&failing.stores).await;
}

/// They go on for a moment after their callers left, and more of them than the driver's pool has connections.
async fn sign_ins_that_hang_do_not_keep_connections_from_requests() {
    let Some(failing) = Failing::start().await else { return };
    let stores = &failing.stores;
    let session = failing.prepare().await;
    stores.store.limit_method().await.unwrap();
    failing.fail_always("insert", doc! { "blockConnection": true, "blockTimeMS": 30_000 }).await;
    let names: Vec<_> = (0..12).map(|number| format!("user {number}")).collect();
    for store in [&stores.store, &stores.turns] {
        let calls = names.iter().map(|name| in_time(DEADLINE / 2, name, sign_in(store, name)));
        for answer in join_all(calls).await {
            assert_fails("create", ErrorKind::Timeout, answer);
        }
    }
    let load = in_time(PATIENT, "load", stores.store.load(std::slice::from_ref(&session.id))).await;
    assert_eq!(load.unwrap().len(), 1);
    failing.heal().await;
    for name in &names {
        // What those that hang had locked is free before the server would end it.
        wait_until("it is signed in", async || sign_in(&stores.store, name).await.is_ok()).await;
    }
}
