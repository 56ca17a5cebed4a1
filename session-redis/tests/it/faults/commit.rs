//! Connections that are lost between a write and its reply.

use std::sync::Arc;
use std::time::Duration;

use session_conformance::fixtures::{at, full, limit, logged_out, record_at, user};
use session_core::prelude::*;
use session_redis::{Connection, RedisStore};
use session_servers::{Fault, Proxy};

use super::DEADLINE;
use super::audit::assert_consistent;
use super::calls::{assert_transient, assert_works, given, in_time};
use super::lab::{Lab, Raw, wait_until};
use crate::support::connected;

const CUTS: [Fault; 5] = [Fault::Before, Fault::After, Fault::Half, Fault::Reset, Fault::SlowClose];

/// A store that reaches its server through a failing network, and one that reaches it directly.
struct Paths {
    proxy: Proxy,
    store: Arc<RedisStore>,
    direct: Arc<RedisStore>,
    raw: Raw,
    lab: Lab,
}

impl Paths {
    async fn open() -> Option<Self> {
        let lab = Lab::start()?;
        let proxy = lab.proxy().await;
        let store = lab.store_behind(&proxy);
        assert_works(&store).await;
        Some(Self { proxy, store, direct: lab.store(), raw: lab.raw().await, lab })
    }

    /// Makes a call whose connection fails.
    async fn lose<T>(&self, cut: Fault, what: &str, id: SessionId, call: impl Future<Output = Result<T>>) {
        self.proxy.arm(cut, id.to_string().as_bytes());
        assert_transient(what, in_time(DEADLINE, what, call).await);
        assert_eq!(self.proxy.met(), 1, "the bytes were never sent");
    }

    async fn stored(&self, id: SessionId) -> Option<Arc<SessionRecord>> {
        self.direct.load(&[id]).await.unwrap().pop()
    }

    async fn live(&self, name: &str) -> usize {
        let query = ListQuery::default().with_user(user(name)).with_state(StateFilter::Live(at(500)));
        self.direct.list(&query).await.unwrap().records.len()
    }

    /// Asserts that the next call uses a new connection and succeeds.
    async fn end(mut self) {
        assert_works(&self.store).await;
        assert_consistent(&self.direct, &self.lab.keys, std::slice::from_mut(&mut self.raw)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_whose_reply_is_lost_is_complete_or_absent() {
    let Some(paths) = Paths::open().await else { return };
    let limit = limit(2, OnExceed::EndOldest, 500);
    for cut in CUTS {
        let name = format!("{cut:?}");
        let records = [0, 1, 2, 3].map(|millis| Arc::new(record_at(&name, millis)));
        let [oldest, old, new, again] = &records;
        for session in [oldest, old] {
            paths.store.create(Arc::clone(session), Some(&limit)).await.unwrap();
        }
        paths.lose(cut, "create", new.id, paths.store.create(Arc::clone(new), Some(&limit))).await;

        let happened = cut != Fault::Before;
        assert_eq!(paths.stored(new.id).await.is_some(), happened, "{cut:?}");
        assert_eq!(paths.stored(oldest.id).await.unwrap().ended().is_some(), happened, "{cut:?}");
        assert!(paths.stored(old.id).await.unwrap().ended().is_none());
        assert_eq!(paths.live(&name).await, 2);
        // A caller that does not know the outcome uses another id.
        paths.store.create(Arc::clone(again), Some(&limit)).await.unwrap();
        assert_eq!(paths.live(&name).await, 2);
        // A caller that uses the same id receives an error.
        let same = paths.store.create(Arc::clone(new), Some(&limit)).await.map_err(|error| error.kind());
        assert_eq!(same.err(), happened.then_some(ErrorKind::AlreadyExists), "{cut:?}");
    }
    paths.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_reply_is_lost_is_complete_or_absent() {
    let Some(paths) = Paths::open().await else { return };
    for cut in CUTS {
        let happened = cut != Fault::Before;
        let session = Arc::new(full(&format!("{cut:?}")));
        paths.lose(cut, "create", session.id, paths.store.create(Arc::clone(&session), None)).await;
        assert_eq!(paths.stored(session.id).await.is_some(), happened, "{cut:?}");
        let same = paths.store.create(Arc::clone(&session), None).await;
        assert_eq!(same.map_err(|error| error.kind()).err(), happened.then_some(ErrorKind::AlreadyExists));

        let mut changed = SessionRecord::clone(&session);
        changed.label = Some("changed".to_owned());
        let changed = Arc::new(changed);
        let update = paths.store.update(Arc::clone(&changed), session.revision);
        paths.lose(cut, "update", session.id, update).await;
        let label = paths.stored(session.id).await.unwrap().label.clone();
        assert_eq!(label, if happened { changed.label.clone() } else { session.label.clone() }, "{cut:?}");
        let same = paths.store.update(Arc::clone(&changed), session.revision).await;
        assert_eq!(same.map_err(|error| error.kind()).err(), happened.then_some(ErrorKind::Conflict));

        let (scope, ended) = (EndScope::id(session.id), logged_out(1));
        paths.lose(cut, "end", session.id, paths.store.end(&scope, &ended, Timestamp::MAX)).await;
        let stored = paths.stored(session.id).await.unwrap();
        assert_eq!(stored.ended(), happened.then_some(&ended), "{cut:?}");
        let again = paths.store.end(&scope, &logged_out(2), Timestamp::MAX).await.unwrap();
        assert_eq!(again.is_empty(), happened);
        let stored = paths.stored(session.id).await.unwrap();
        assert_eq!(stored.ended(), Some(&logged_out(if happened { 1 } else { 2 })));
    }
    paths.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_whose_reply_is_lost_is_not_an_absence() {
    let Some(paths) = Paths::open().await else { return };
    let session = given(&paths.store, "dora").await;
    for cut in CUTS {
        paths.lose(cut, "load", session.id, paths.store.load(&[session.id])).await;
        assert_eq!(paths.store.load(&[session.id]).await.unwrap().len(), 1, "{cut:?}");
        let both = [session.id, record_at("absent", 1).id];
        paths.lose(cut, "load of several", session.id, paths.store.load(&both)).await;
        assert_eq!(paths.store.load(&both).await.unwrap().len(), 1, "{cut:?}");
    }
    paths.end().await;
}

/// The caller gives up first, and the connection stays silent until its next `PING`.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_reply_is_a_timeout_and_replaces_the_connection() {
    let Some(paths) = Paths::open().await else { return };
    let patience = Duration::from_secs(1);
    let address = paths.proxy.url(&paths.lab.url());
    let store = paths.lab.store_on(Connection::open(address).unwrap().with_timeout(patience));
    connected(store.connection());
    let session = given(&paths.direct, "dora").await;
    paths.proxy.arm(Fault::Hush, session.id.to_string().as_bytes());
    let (scope, ended) = (EndScope::id(session.id), logged_out(50));
    let call = store.end(&scope, &ended, Timestamp::MAX);
    let error = assert_transient("end", in_time(patience, "end", call).await);
    assert_eq!(error.kind(), ErrorKind::Timeout);
    wait_until("it is ended", async || paths.stored(session.id).await.unwrap().ended().is_some()).await;
    let replaced = async || store.load(&[session.id]).await.is_ok();
    println!("replaced after {:?}", wait_until("it is replaced", replaced).await);
    assert_eq!(paths.stored(session.id).await.unwrap().ended(), Some(&ended));
    paths.end().await;
}
