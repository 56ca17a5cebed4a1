//! A server that replies like a primary that steps down, shuts down, waits in vain for its members,
//! or rejects a command.

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
    step_down_is_retried_once_then_an_outage,
    closed_connection_is_retried_once_then_an_outage,
    unconfirmed_write_is_never_a_success,
    unconfirmed_sign_in_is_never_a_success,
    server_error_codes_map_to_kinds,
    conflicting_transaction_is_retried,
    commit_with_an_unknown_outcome_happens_once,
    hanging_command_costs_one_call,
    hanging_sign_ins_leave_connections_for_requests,
);

/// Operations, each with the command that fails, and whether the driver retries that command once.
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

/// `PrimarySteppedDown`, `NotWritablePrimary`, `InterruptedDueToReplStateChange`,
/// `ShutdownInProgress`, `NotPrimaryNoSecondaryOk`, `InterruptedAtShutdown`.
const STEP_DOWNS: [i32; 6] = [189, 10107, 11602, 91, 13435, 11600];

/// A server with fail points, and stores on two clients.
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

    /// Makes the next commands of this name fail.
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

    async fn turn_off(&self) {
        self.set("off", doc! {}).await;
    }

    /// Stores sessions, so that each operation finds some.
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

    /// Makes a call whose command fails once, and one whose command always fails.
    async fn assert_retried(&self, name: &str, command: &str, is_retried: bool, what: Document) {
        let session = self.prepare().await;
        self.fail(1, command, what.clone()).await;
        let once = self.try_call(name, &session).await;
        if is_retried {
            once.unwrap_or_else(|error| panic!("{name} {what}: {error:?}"));
        } else {
            assert_fails(name, ErrorKind::Unavailable, once);
        }
        let session = self.prepare().await;
        self.fail_always(command, what).await;
        assert_fails(name, ErrorKind::Unavailable, self.try_call(name, &session).await);
        self.turn_off().await;
    }

    async fn assert_kind(&self, name: &str, command: &str, code: i32, kind: ErrorKind) {
        let session = self.prepare().await;
        self.fail_always(command, doc! { "errorCode": code }).await;
        assert_fails(&format!("{name} {code}"), kind, self.try_call(name, &session).await);
        self.turn_off().await;
    }

    async fn live(&self, name: &str) -> Vec<SessionId> {
        let query = ListQuery::default().with_user(user(name)).with_state(StateFilter::Live(at(500)));
        let page = self.other.store.list(&query).await.unwrap();
        page.records.iter().map(|record| record.id).collect()
    }
}

async fn step_down_is_retried_once_then_an_outage() {
    let Some(failing) = Failing::start().await else { return };
    let codes = STEP_DOWNS.into_iter().cycle();
    for ((name, command, is_retried), code) in FAILING.into_iter().zip(codes) {
        failing.assert_retried(name, command, is_retried, doc! { "errorCode": code }).await;
    }
    assert_works(&failing.stores).await;
}

async fn closed_connection_is_retried_once_then_an_outage() {
    let Some(failing) = Failing::start().await else { return };
    for (name, command, is_retried) in FAILING {
        failing.assert_retried(name, command, is_retried, doc! { "closeConnection": true }).await;
    }
    assert_works(&failing.stores).await;
}

fn unconfirmed(code: i32) -> Document {
    doc! { "writeConcernError": { "code": code, "errmsg": "not confirmed" } }
}

async fn unconfirmed_write_is_never_a_success() {
    let Some(failing) = Failing::start().await else { return };
    let store = &failing.stores.store;
    for (code, kind) in [(64, ErrorKind::Timeout), (100, ErrorKind::Unavailable)] {
        let session = Arc::new(full("dora"));
        failing.fail_always("insert", unconfirmed(code)).await;
        assert_fails("create", kind, store.create(Arc::clone(&session), None).await);
        assert!(stored(store, session.id).await.is_some(), "the primary has applied the write");
        for name in ["update", "touch"] {
            failing.fail_always("update", unconfirmed(code)).await;
            assert_fails(name, kind, failing.try_call(name, &session).await);
        }
        failing.fail_always("findAndModify", unconfirmed(code)).await;
        let scope = EndScope::id(session.id);
        assert_fails("end", kind, store.end(&scope, &logged_out(6), Timestamp::MAX).await);
        assert!(stored(store, session.id).await.unwrap().ended().is_some());
        failing.turn_off().await;
        failing.prepare().await;
        for (name, command) in [("erase", "update"), ("purge", "delete")] {
            failing.fail_always(command, unconfirmed(code)).await;
            assert_fails(name, kind, failing.try_call(name, &session).await);
        }
        failing.turn_off().await;
    }
    assert_works(&failing.stores).await;
}

async fn unconfirmed_sign_in_is_never_a_success() {
    let Some(failing) = Failing::start().await else { return };
    let limit = limit(2, OnExceed::EndOldest, 500);
    let commands = [(&failing.stores.store, "commitTransaction"), (&failing.stores.cas_store, "update")];
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
            failing.turn_off().await;
            assert!(failing.live(&name).await.len() <= 2);
            store.create(Arc::clone(&four), Some(&limit)).await.unwrap();
            assert_eq!(
                failing.live(&name).await,
                [four.id, three.id],
                "{name}: the primary had applied the write"
            );
        }
    }
}

async fn server_error_codes_map_to_kinds() {
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

async fn conflicting_transaction_is_retried() {
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
    // If every attempt fails, the error is transient and not "limit exceeded".
    failing.fail_always("insert", conflict).await;
    let create = failing.stores.store.create(Arc::new(record_at("ann", 9)), Some(&limit));
    // The deadline exceeds the store's own time limit, so that no attempt is in progress when the
    // server works again.
    assert_transient("create", in_time(6 * DEADLINE, "create", create).await);
    failing.turn_off().await;
    assert_eq!(failing.live("ann").await, [before]);
    assert_works(&failing.stores).await;
}

async fn commit_with_an_unknown_outcome_happens_once() {
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

async fn hanging_command_costs_one_call() {
    let Some(failing) = Failing::start().await else { return };
    let blocked = doc! { "blockConnection": true, "blockTimeMS": 20_000 };
    for (name, command, _) in FAILING {
        let session = failing.prepare().await;
        failing.fail(1, command, blocked.clone()).await;
        let patience = Duration::from_secs(1);
        let dropped = in_time(patience, name, call(&failing.stores, name, &session)).await;
        assert_fails(name, ErrorKind::Timeout, dropped);
        // A hanging command continues to hang, and no further one will. On a busy machine the
        // command may not have been sent yet.
        failing.turn_off().await;
        // The next call does not wait for the hanging one.
        let began = Instant::now();
        let session = failing.prepare().await;
        failing.try_call(name, &session).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "{name} waited for {:?}", began.elapsed());
    }
    assert_works(&failing.stores).await;
}

/// The sign-ins continue for a moment after their callers dropped them, and there are more of them
/// than the driver's pool has connections.
async fn hanging_sign_ins_leave_connections_for_requests() {
    let Some(failing) = Failing::start().await else { return };
    let stores = &failing.stores;
    let session = failing.prepare().await;
    stores.store.limit_method().await.unwrap();
    failing.fail_always("insert", doc! { "blockConnection": true, "blockTimeMS": 30_000 }).await;
    let names: Vec<_> = (0..12).map(|number| format!("user {number}")).collect();
    for store in [&stores.store, &stores.cas_store] {
        let calls = names.iter().map(|name| in_time(DEADLINE / 2, name, sign_in(store, name)));
        for answer in join_all(calls).await {
            assert_fails("create", ErrorKind::Timeout, answer);
        }
    }
    let load = in_time(PATIENT, "load", stores.store.load(std::slice::from_ref(&session.id))).await;
    assert_eq!(load.unwrap().len(), 1);
    failing.turn_off().await;
    for name in &names {
        // The locks of the hanging sign-ins are released before the server would abort them.
        wait_until("the sign-in succeeds", async || sign_in(&stores.store, name).await.is_ok()).await;
    }
}
