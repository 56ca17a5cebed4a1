//! Connections that fail between a write and its reply.
//!
//! On a replica set the driver retries the command once, and the server returns the result of the
//! first attempt. If the retry fails, or the driver does not retry, the call has happened entirely
//! or not at all, or the next sign-in of the shard completes it.

use std::sync::Arc;

use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record_at, touch, user};
use session_core::prelude::*;
use session_mongo::{LimitMethod, MongoStore};
use session_servers::{Fault, Kind, Options, Proxy};

use super::calls::{after_met, assert_fails, assert_transient, assert_works, given, in_time};
use super::lab::{Lab, Stores, stored, wait_until};
use super::{DEADLINE, PATIENT, cases};

cases!(
    replica_set_repeats_a_lost_reply,
    single_server_reports_a_lost_reply_as_unavailable,
    write_whose_replies_are_all_lost_is_an_outage_but_happens,
    transaction_with_a_lost_reply_happens_once,
    compare_and_set_with_a_lost_reply_happens_once,
);

/// The limit of live sessions of a user.
const MAX: u32 = 2;

/// Stores that connect through a proxy, and stores that connect directly.
pub(super) struct Paths {
    pub(super) proxy: Proxy,
    pub(super) stores: Stores,
    pub(super) direct: Stores,
    _lab: Lab,
}

impl Paths {
    pub(super) async fn open() -> Option<Self> {
        Self::open_on(Kind::Mongodb).await
    }

    async fn open_on(kind: Kind) -> Option<Self> {
        let lab = Lab::start_with(kind, &Options::default()).await?;
        let proxy = lab.proxy().await;
        let stores = lab.stores_through(&proxy).await;
        assert_works(&stores).await;
        Some(Self { proxy, stores, direct: lab.stores().await, _lab: lab })
    }

    pub(super) async fn stored(&self, id: SessionId) -> Option<Arc<SessionRecord>> {
        stored(&self.direct.store, id).await
    }

    /// Makes a call whose reply is lost.
    async fn lose<T>(&self, is_each: bool, bytes: &[u8], call: impl Future<Output = Result<T>>) -> Result<T> {
        self.arm(is_each, bytes);
        let answer = in_time(PATIENT, "a call", call).await;
        self.disarm(bytes);
        answer
    }

    fn arm(&self, is_each: bool, bytes: &[u8]) {
        let arm = if is_each { Proxy::arm_each } else { Proxy::arm };
        arm(&self.proxy, Fault::After, bytes);
    }

    fn disarm(&self, bytes: &[u8]) {
        assert!(self.proxy.met() > 0, "the bytes were never sent: {:?}", String::from_utf8_lossy(bytes));
        self.proxy.disarm();
    }

    async fn live(&self, name: &str) -> usize {
        let query = ListQuery::default().with_user(user(name)).with_state(StateFilter::Live(at(500)));
        self.direct.store.list(&query).await.unwrap().records.len()
    }
}

fn ids(records: &[Arc<SessionRecord>]) -> Vec<SessionId> {
    records.iter().map(|record| record.id).collect()
}

/// Returns the session with another label.
fn labelled(session: &SessionRecord) -> Arc<SessionRecord> {
    let mut changed = session.clone();
    changed.label = Some("changed".to_owned());
    Arc::new(changed)
}

async fn replica_set_repeats_a_lost_reply() {
    let Some(paths) = Paths::open().await else { return };
    let (store, session) = (&paths.stores.store, Arc::new(full("dora")));
    let id = session.id.as_bytes();
    paths.lose(false, id, store.create(Arc::clone(&session), None)).await.unwrap();
    let update = store.update(labelled(&session), session.revision);
    let revision = paths.lose(false, id, update).await.unwrap();
    let found = paths.lose(false, id, store.load(&[session.id])).await.unwrap();
    assert_eq!((found[0].revision, found[0].label.as_deref()), (revision, Some("changed")));
    let query = ListQuery::default().with_user(user("dora"));
    assert_eq!(paths.lose(false, b"dora", store.list(&query)).await.unwrap().records.len(), 1);

    // The driver does not retry a command that the application builds itself.
    let touch_at_9 = [touch(session.id, 9)];
    assert_fails("touch", ErrorKind::Unavailable, paths.lose(false, id, store.touch(&touch_at_9, NOW)).await);
    assert_eq!(paths.stored(session.id).await.unwrap().last_seen_at, at(9));

    let scope = EndScope::id(session.id);
    let records =
        paths.lose(false, b"findAndModify", store.end(&scope, &logged_out(1), Timestamp::MAX)).await.unwrap();
    assert_eq!(ids(&records), [session.id]);
    assert_eq!(store.end(&scope, &logged_out(2), Timestamp::MAX).await.unwrap(), []);
    let emil = given(store, "emil").await;
    let scope = EndScope::User(user("emil"));
    let records =
        paths.lose(false, b"findAndModify", store.end(&scope, &logged_out(1), Timestamp::MAX)).await.unwrap();
    assert_eq!(ids(&records), [emil.id]);
    assert_eq!(records[0].ended(), Some(&logged_out(1)));
    assert_eq!(store.end(&scope, &logged_out(2), Timestamp::MAX).await.unwrap(), []);
    let due = given(store, "frida").await;
    let expired = paths.lose(false, b"findAndModify", store.expire(due.expires_at, 10)).await.unwrap();
    assert_eq!(ids(&expired).iter().filter(|id| **id == due.id).count(), 1);
    assert_lost_cleanup_replies_are_unavailable(&paths, false).await;
    assert_works(&paths.stores).await;
}

async fn single_server_reports_a_lost_reply_as_unavailable() {
    let Some(paths) = Paths::open_on(Kind::MongodbStandalone).await else { return };
    assert_lost_replies_are_unavailable(&paths, false).await;
}

async fn write_whose_replies_are_all_lost_is_an_outage_but_happens() {
    let Some(paths) = Paths::open().await else { return };
    assert_lost_replies_are_unavailable(&paths, true).await;
    let session = given(&paths.stores.store, "emil").await;
    let load = paths.lose(true, session.id.as_bytes(), paths.stores.store.load(&[session.id])).await;
    assert_fails("load", ErrorKind::Unavailable, load);
    assert_works(&paths.stores).await;
}

/// Asserts that each call with a lost reply fails as unavailable but has happened, and that the
/// same call afterwards reports so.
async fn assert_lost_replies_are_unavailable(paths: &Paths, is_each: bool) {
    let (store, session) = (&paths.stores.store, Arc::new(full("dora")));
    let id = session.id.as_bytes();
    let create = || store.create(Arc::clone(&session), None);
    assert_fails("create", ErrorKind::Unavailable, paths.lose(is_each, id, create()).await);
    assert!(paths.stored(session.id).await.is_some());
    assert_fails("create", ErrorKind::AlreadyExists, create().await);

    let update = || store.update(labelled(&session), session.revision);
    assert_fails("update", ErrorKind::Unavailable, paths.lose(is_each, id, update()).await);
    assert_eq!(paths.stored(session.id).await.unwrap().label.as_deref(), Some("changed"));
    assert_fails("update", ErrorKind::Conflict, update().await);

    let touch_at_9 = [touch(session.id, 9)];
    assert_fails(
        "touch",
        ErrorKind::Unavailable,
        paths.lose(is_each, id, store.touch(&touch_at_9, NOW)).await,
    );
    assert_eq!(store.touch(&touch_at_9, NOW).await.unwrap(), 0);

    let scope = EndScope::id(session.id);
    let end = paths.lose(is_each, id, store.end(&scope, &logged_out(1), Timestamp::MAX)).await;
    assert_fails("end", ErrorKind::Unavailable, end);
    assert_eq!(paths.stored(session.id).await.unwrap().ended(), Some(&logged_out(1)));
    assert_eq!(store.end(&scope, &logged_out(2), Timestamp::MAX).await.unwrap(), []);
    assert_eq!(paths.stored(session.id).await.unwrap().ended(), Some(&logged_out(1)));

    store.expire(at(9_000_000), 500).await.unwrap();
    let due = given(store, "frida").await;
    let expire = paths.lose(is_each, b"findAndModify", store.expire(due.expires_at, 10)).await;
    assert_fails("expire", ErrorKind::Unavailable, expire);
    assert!(paths.stored(due.id).await.unwrap().ended().is_some());
    assert_eq!(store.expire(due.expires_at, 10).await.unwrap(), []);
    assert_lost_cleanup_replies_are_unavailable(paths, is_each).await;
}

/// Makes cleanup calls with lost replies. On no server does the driver retry a command that may
/// change many documents.
async fn assert_lost_cleanup_replies_are_unavailable(paths: &Paths, is_each: bool) {
    let store = &paths.stores.store;
    let session = given(store, "gina").await;
    store.end(&EndScope::id(session.id), &logged_out(1), Timestamp::MAX).await.unwrap();
    let gina = user("gina");
    let erase = paths.lose(is_each, b"update\0", store.erase(&gina, 10)).await;
    assert_fails("erase", ErrorKind::Unavailable, erase);
    assert_eq!(paths.stored(session.id).await.unwrap().user_id, None);
    assert_eq!(store.erase(&gina, 10).await.unwrap(), 0);

    let purge = paths.lose(is_each, b"delete\0", store.purge(at(9_000_000), 500)).await;
    assert_fails("purge", ErrorKind::Unavailable, purge);
    assert!(paths.stored(session.id).await.is_none());
    assert_eq!(store.purge(at(9_000_000), 500).await.unwrap(), 0);
}

/// The outcome of a sign-in that loses its replies at some command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// The call succeeds after a retry.
    Answered,
    /// The call fails, but the sign-in has happened.
    Happened,
    /// The call fails, and the next sign-in carries it out.
    Left,
    /// The call fails, and the sign-in never happens.
    Nothing,
}

async fn transaction_with_a_lost_reply_happens_once() {
    let Some(paths) = Paths::open().await else { return };
    let points: [(&[u8], Fate); 4] = [
        (b"findAndModify", Fate::Nothing),
        (b"insert\0", Fate::Nothing),
        (b"limit_evicted", Fate::Nothing),
        (b"commitTransaction", Fate::Happened),
    ];
    assert_fates(&paths, LimitMethod::Transaction, &points).await;
}

async fn compare_and_set_with_a_lost_reply_happens_once() {
    let Some(paths) = Paths::open().await else { return };
    let points: [(&[u8], Fate); 5] = [
        (b"insert\0", Fate::Nothing),
        (b"surplus\0", Fate::Left),
        (b"signIn\0", Fate::Happened),
        (b"\x03$set\0\x10\0\0\0\x0Aannounced\0", Fate::Happened),
        (b"end.signIn", Fate::Happened),
    ];
    assert_fates(&paths, LimitMethod::CompareAndSet, &points).await;
}

/// For each point, loses one reply there, and then all replies there.
async fn assert_fates(paths: &Paths, method: LimitMethod, points: &[(&[u8], Fate)]) {
    for (number, (point, always)) in points.iter().enumerate() {
        // The driver retries every command except this one.
        let is_retried = *point != b"signIn\0";
        let once = if is_retried { Fate::Answered } else { *always };
        for (is_each, fate) in [(false, once), (true, *always)] {
            let name = format!("{method:?} {number} {is_each}");
            assert_fate(paths, &name, fate, method, is_each, point).await;
        }
    }
    assert_works(&paths.stores).await;
}

async fn assert_fate(
    paths: &Paths,
    name: &str,
    fate: Fate,
    method: LimitMethod,
    is_each: bool,
    point: &[u8],
) {
    let limit = limit(MAX, OnExceed::EndOldest, 500);
    let records = [0, 1, 2, 3].map(|millis| Arc::new(record_at(name, millis)));
    let [oldest, old, new, next] = &records;
    for session in [oldest, old] {
        paths.direct.store.create(Arc::clone(session), Some(&limit)).await.unwrap();
    }
    let create = |store: &MongoStore, session: &Arc<SessionRecord>| {
        let (store, session) = (store.clone(), Arc::clone(session));
        async move { store.create(session, Some(&limit)).await }
    };
    paths.arm(is_each, point);
    // A transaction without effect is retried for as long as its caller waits.
    let patience = if fate == Fate::Nothing { DEADLINE } else { PATIENT };
    let answer = after_met(&paths.proxy, patience, create(paths.stores.by(method), new)).await;
    match answer {
        Ok(evicted) if fate == Fate::Answered => {
            assert_eq!(ids(&evicted), [oldest.id], "{name}");
        }
        answer => drop(assert_transient(name, answer)),
    }
    assert!(paths.live(name).await <= MAX as usize, "{name}");
    let is_there = matches!(fate, Fate::Answered | Fate::Happened);
    assert_eq!(paths.stored(new.id).await.is_some(), is_there, "{name}");

    // Another sign-in of the shard succeeds after the server has noticed the closed connections.
    wait_until("the shard is free", async || create(&paths.direct.store, next).await.is_ok()).await;
    assert_eq!(paths.live(name).await, MAX as usize, "{name}");
    let new = paths.stored(new.id).await;
    assert_eq!(new.is_some(), fate != Fate::Nothing, "{name}");
    assert!(new.is_none_or(|new| new.ended().is_none()), "{name}");
    paths.disarm(point);
}
