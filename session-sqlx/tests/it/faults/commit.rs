//! Connections that are lost between a write and its reply.

use std::sync::Arc;
use std::time::Duration;

use session_conformance::fixtures::{at, full, limit, logged_out, record_at, user};
use session_core::prelude::*;
use session_servers::{Fault, Proxy};
use session_sqlx::SqlStore;

use super::calls::{assert_transient, assert_works, given, within};
use super::lab::{Lab, Raw, pool_of};
use super::target::Target;
use super::{LONG_DEADLINE, on_each_server};

on_each_server!(
    a_sign_in_whose_commit_is_lost_is_atomic,
    a_write_whose_reply_is_lost_is_atomic,
    a_read_whose_reply_is_lost_is_retried,
);

/// The deadline of a call whose reply is lost. Long enough to send the call, even on shared
/// processors.
const LOST_REPLY_DEADLINE: Duration = Duration::from_secs(4);

const CUTS: [Fault; 3] = [Fault::Before, Fault::After, Fault::Hush];

/// A store that reaches its server through a proxy, and one that connects directly.
struct Paths<D: Target> {
    proxy: Proxy,
    store: SqlStore<D>,
    direct: SqlStore<D>,
    watcher: Raw<D>,
    _lab: Lab<D>,
}

impl<D: Target> Paths<D> {
    async fn open() -> Option<Self> {
        let mut lab = Lab::<D>::start().await?;
        let proxy = lab.proxy().await;
        let store = lab.store_at(&proxy.url(&lab.url), pool_of(2));
        assert_works(&store).await;
        Some(Self { proxy, store, direct: lab.store(pool_of(2)), watcher: lab.raw().await, _lab: lab })
    }

    /// Waits until the server has noticed the lost connection and completed its work.
    async fn settle(&mut self) {
        assert_eq!(self.proxy.met(), 1, "the bytes were never sent");
        self.watcher.wait_for(D::IDLE_IN_TRANSACTION, LONG_DEADLINE, |open| open == 0).await;
        self.watcher.wait_for(D::RUNNING, LONG_DEADLINE, |running| running == 0).await;
    }

    async fn stored(&self, id: SessionId) -> Option<Arc<SessionRecord>> {
        self.direct.load(&[id]).await.unwrap().pop()
    }

    async fn live(&self, name: &str) -> usize {
        let query = ListQuery::default().with_user(user(name)).with_state(StateFilter::Live(at(500)));
        self.direct.list(&query).await.unwrap().records.len()
    }
}

async fn a_sign_in_whose_commit_is_lost_is_atomic<D: Target>() {
    let Some(mut paths) = Paths::<D>::open().await else { return };
    let limit = limit(2, OnExceed::EndOldest, 500);
    for cut in CUTS {
        let name = format!("{cut:?}");
        let records = [0, 1, 2, 3].map(|millis| Arc::new(record_at(&name, millis)));
        let [oldest, old, new, again] = &records;
        for session in [oldest, old] {
            paths.store.create(Arc::clone(session), Some(&limit)).await.unwrap();
        }
        paths.proxy.arm(cut, D::COMMIT);
        let created = paths.store.create(Arc::clone(new), Some(&limit));
        assert_transient("create", within(LOST_REPLY_DEADLINE, "create", created).await);
        paths.settle().await;

        let happened = cut != Fault::Before;
        assert_eq!(paths.stored(new.id).await.is_some(), happened, "{cut:?}");
        assert_eq!(paths.stored(oldest.id).await.unwrap().ended().is_some(), happened, "{cut:?}");
        assert!(paths.stored(old.id).await.unwrap().ended().is_none());
        assert_eq!(paths.live(&name).await, 2);
        // A caller that does not know the result retries with another id.
        paths.store.create(Arc::clone(again), Some(&limit)).await.unwrap();
        assert_eq!(paths.live(&name).await, 2);
        // A retry with the same id is refused if the first attempt succeeded.
        let same = paths.store.create(Arc::clone(new), Some(&limit)).await.map_err(|error| error.kind());
        assert_eq!(same.is_err(), happened);
        assert!(same.err().is_none_or(|kind| kind == ErrorKind::AlreadyExists));
    }
    assert_works(&paths.store).await;
}

async fn a_write_whose_reply_is_lost_is_atomic<D: Target>() {
    let Some(mut paths) = Paths::<D>::open().await else { return };
    for cut in CUTS {
        let happened = cut != Fault::Before;
        let session = Arc::new(full(&format!("{cut:?}")));
        paths.proxy.arm(cut, session.id.as_bytes());
        let created = paths.store.create(Arc::clone(&session), None);
        assert_transient("create", within(LOST_REPLY_DEADLINE, "create", created).await);
        paths.settle().await;
        assert_eq!(paths.stored(session.id).await.is_some(), happened, "{cut:?}");
        let same = paths.store.create(Arc::clone(&session), None).await;
        assert_eq!(same.map_err(|error| error.kind()).err(), happened.then_some(ErrorKind::AlreadyExists));

        let mut changed = SessionRecord::clone(&session);
        changed.label = Some("changed".to_owned());
        let changed = Arc::new(changed);
        paths.proxy.arm(cut, session.id.as_bytes());
        let updated = paths.store.update(Arc::clone(&changed), session.revision);
        assert_transient("update", within(LOST_REPLY_DEADLINE, "update", updated).await);
        paths.settle().await;
        let label = paths.stored(session.id).await.unwrap().label.clone();
        assert_eq!(label, if happened { changed.label.clone() } else { session.label.clone() }, "{cut:?}");
        let same = paths.store.update(Arc::clone(&changed), session.revision).await;
        assert_eq!(same.map_err(|error| error.kind()).err(), happened.then_some(ErrorKind::Conflict));

        let scope = EndScope::id(session.id);
        paths.proxy.arm(cut, &D::end_sends(session.id.as_bytes()));
        let ended = logged_out(1);
        let call = paths.store.end(&scope, &ended, Timestamp::MAX);
        assert_transient("end", within(LOST_REPLY_DEADLINE, "end", call).await);
        paths.settle().await;
        let stored = paths.stored(session.id).await.unwrap();
        assert_eq!(stored.ended(), happened.then_some(&ended), "{cut:?}");
        let again = paths.store.end(&scope, &logged_out(2), Timestamp::MAX).await.unwrap();
        assert_eq!(again.is_empty(), happened);
        let query = ListQuery::default().with_user(session.user_id.clone().unwrap());
        let history = paths.direct.list(&query).await.unwrap().records;
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].ended(), Some(&logged_out(if happened { 1 } else { 2 })));
    }
    assert_works(&paths.store).await;
}

async fn a_read_whose_reply_is_lost_is_retried<D: Target>() {
    let Some(paths) = Paths::<D>::open().await else { return };
    let session = given(&paths.store, "dora").await;
    for cut in [Fault::Before, Fault::After] {
        paths.store.load(&[session.id]).await.unwrap();
        paths.proxy.arm(cut, session.id.as_bytes());
        let found = within(LONG_DEADLINE, "load", paths.store.load(&[session.id])).await.unwrap();
        assert_eq!(paths.proxy.met(), 1, "the bytes were never sent");
        assert_eq!(found.len(), 1);
    }
}
