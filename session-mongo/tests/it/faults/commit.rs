//! Connections that are lost between a write and its answer.
//!
//! On a replica set the driver asks once more, and the server answers what it did the first time. If it cannot be asked, or is not asked
//! again, the call has happened whole, or not at all, or the next sign-in of the shard carries it through.

use std::sync::Arc;

use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record_at, touch, user};
use session_core::prelude::*;
use session_mongo::{LimitMethod, MongoStore};
use session_servers::{Fault, Kind, Options, Proxy};

use super::calls::{after_met, assert_fails, assert_transient, assert_works, given, in_time};
use super::lab::{Lab, Stores, stored, wait_until};
use super::{DEADLINE, PATIENT, cases};

cases!(
    a_replica_set_answers_again_what_it_did_when_its_answer_was_lost,
    a_single_server_does_not_answer_again_and_nobody_is_told_that_it_did_nothing,
    a_write_whose_answer_is_always_lost_is_an_outage_and_happened,
    a_transaction_whose_answer_is_lost_happens_once,
    a_compare_and_set_whose_answer_is_lost_happens_once,
);

/// Most live sessions of a user.
const MAX: u32 = 2;

/// Stores that reach their server through a network that fails, and some that do not.
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

    /// Makes a call whose answer is lost.
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

/// The same with another label.
fn labelled(session: &SessionRecord) -> Arc<SessionRecord> {
    let mut changed = session.clone();
    changed.label = Some("changed".to_owned());
    Arc::new(changed)
}

async fn a_replica_set_answers_again_what_it_did_when_its_answer_was_lost() {
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

    // The driver does not repeat a command of ours.
    let sighting = [touch(session.id, 9)];
    assert_fails("touch", ErrorKind::Unavailable, paths.lose(false, id, store.touch(&sighting, NOW)).await);
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
    assert_cleaning_is_lost(&paths, false).await;
    assert_works(&paths.stores).await;
}

async fn a_single_server_does_not_answer_again_and_nobody_is_told_that_it_did_nothing() {
    let Some(paths) = Paths::open_on(Kind::MongodbStandalone).await else { return };
    assert_writes_are_lost(&paths, false).await;
}

async fn a_write_whose_answer_is_always_lost_is_an_outage_and_happened() {
    let Some(paths) = Paths::open().await else { return };
    assert_writes_are_lost(&paths, true).await;
    let session = given(&paths.stores.store, "emil").await;
    let load = paths.lose(true, session.id.as_bytes(), paths.stores.store.load(&[session.id])).await;
    assert_fails("load", ErrorKind::Unavailable, load);
    assert_works(&paths.stores).await;
}

/// Nobody can tell, and everything happened; then the same call says so.
async fn assert_writes_are_lost(paths: &Paths, is_each: bool) {
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

    let sighting = [touch(session.id, 9)];
    assert_fails("touch", ErrorKind::Unavailable, paths.lose(is_each, id, store.touch(&sighting, NOW)).await);
    assert_eq!(store.touch(&sighting, NOW).await.unwrap(), 0);

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
    assert_cleaning_is_lost(paths, is_each).await;
}

/// The driver repeats none that may concern many documents, on any server.
async fn assert_cleaning_is_lost(paths: &Paths, is_each: bool) {
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

/// What becomes of a sign-in that loses its answers at some point.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It is answered after all.
    Answered,
    /// It is not, and has happened.
    Happened,
    /// It is not, and others carry it out.
    Left,
    /// It is not, and nothing happens.
    Nothing,
}

async fn a_transaction_whose_answer_is_lost_happens_once() {
    let Some(paths) = Paths::open().await else { return };
    let points: [(&[u8], Fate); 4] = [
        (b"findAndModify", Fate::Nothing),
        (b"insert\0", Fate::Nothing),
        (b"limit_evicted", Fate::Nothing),
        (b"commitTransaction", Fate::Happened),
    ];
    assert_fates(&paths, LimitMethod::Transaction, &points).await;
}

async fn a_compare_and_set_whose_answer_is_lost_happens_once() {
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

/// Loses one answer at each point, then each of them.
async fn assert_fates(paths: &Paths, method: LimitMethod, points: &[(&[u8], Fate)]) {
    for (number, (point, always)) in points.iter().enumerate() {
        // The one command that the driver does not repeat.
        let is_repeated = *point != b"signIn\0";
        let once = if is_repeated { Fate::Answered } else { *always };
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
    // A transaction that comes to nothing is tried again for as long as somebody waits.
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

    // Somebody else of the shard, once the server has seen which connections are closed.
    wait_until("the shard is free", async || create(&paths.direct.store, next).await.is_ok()).await;
    assert_eq!(paths.live(name).await, MAX as usize, "{name}");
    let new = paths.stored(new.id).await;
    assert_eq!(new.is_some(), fate != Fate::Nothing, "{name}");
    assert!(new.is_none_or(|new| new.ended().is_none()), "{name}");
    paths.disarm(point);
}
