//! Copies during failures of the store of record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_core::{EndReason, EndScope, ManualClock, Revision, SessionStore, SystemClock};
use session_manager::{Found, NewSession, Source, TieredStore, Tiers};
use session_servers::{Fault, Kind, Proxy, Server};
use session_sqlx::PostgresStore;
use tokio::task::block_in_place;

use crate::lab::{Node, assert_unavailable, ended, own_server, until};
use crate::storage;

/// The store deadline. A busy machine must not look like an outage.
const DEADLINE: Duration = Duration::from_secs(4);

struct Lab {
    server: Server,
    clock: Arc<ManualClock>,
    table: session_sqlx::TableName,
}

impl Lab {
    async fn open() -> Option<Self> {
        let server = own_server(Kind::Postgres)?;
        let table = storage::fresh_table();
        storage::migrated(storage::postgres(&server.url(), 1).await, &table).await;
        Some(Self { server, clock: Arc::default(), table })
    }

    async fn store(&self, url: &str) -> Arc<PostgresStore> {
        let pool = storage::postgres(url, 4).await;
        Arc::new(PostgresStore::builder(pool).table(self.table.clone()).build().unwrap())
    }

    async fn node(&self, tiers: Tiers) -> Node {
        let store = self.store(&self.server.url()).await;
        Node::on(store, |builder| {
            let builder = builder.with_clock(Arc::clone(&self.clock)).with_tiers(tiers);
            builder.with_store_deadline(DEADLINE)
        })
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_keep_their_lifetime_during_a_store_outage() {
    let Some(mut lab) = Lab::open().await else { return };
    let long = Duration::from_secs(30);
    let strict = lab.node(Tiers::memory().with_l1_max_age(long)).await;
    let lenient =
        lab.node(Tiers::memory().with_l1_max_age(long).with_stale_if_error(Duration::from_secs(120))).await;
    let (_, token) = strict.sign_in("ann").await;
    let (revoked, revoked_token) = strict.sign_in("bob").await;
    for node in [&strict, &lenient] {
        node.validate(&token).await.unwrap();
    }
    lenient.revoke(revoked).await;

    block_in_place(|| lab.server.kill().unwrap());
    for node in [&strict, &lenient] {
        let provenance = node.validate(&token).await.unwrap().provenance();
        assert_eq!((provenance.source, provenance.degraded), (Source::Memory, false));
    }

    lab.advance(31);
    assert_unavailable(strict.validate(&token).await);
    let provenance = lenient.validate(&token).await.unwrap().provenance();
    assert_eq!((provenance.source, provenance.degraded), (Source::Memory, true));
    ended(lenient.validate(&revoked_token).await);
    let refused = lenient.manager.create(NewSession::for_user("cid".parse().unwrap())).await;
    assert!(refused.unwrap_err().is_transient(), "a sign-in needs the store");
    let wrong = format!("{}x", &token[..token.len() - 1]);
    assert!(lenient.validate(&wrong).await.is_err());

    lab.advance(90);
    assert_unavailable(lenient.validate(&token).await);

    block_in_place(|| lab.server.start_again().unwrap());
    for node in [&strict, &lenient] {
        until("the store answers again", async || node.validate(&token).await.is_ok()).await;
        assert_eq!(ended(node.validate(&revoked_token).await).reason, EndReason::RevokedByAdmin);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_store_is_unavailable_at_the_deadline() {
    let Some(mut lab) = Lab::open().await else { return };
    let node = lab.node(Tiers::memory()).await;
    let (_, token) = node.sign_in("ann").await;
    lab.advance(31);

    block_in_place(|| lab.server.pause().unwrap());
    let began = Instant::now();
    assert_unavailable(node.validate(&token).await);
    let took = began.elapsed();
    assert!(took >= DEADLINE && took < 2 * DEADLINE, "{took:?}");

    block_in_place(|| lab.server.resume().unwrap());
    until("the store answers again", async || node.validate(&token).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_write_leaves_no_outdated_copy() {
    let Some(lab) = Lab::open().await else { return };
    let proxy = Proxy::to(lab.server.port()).await.unwrap();
    let direct = lab.store(&lab.server.url()).await;
    let through = lab.store(&proxy.url(&lab.server.url())).await;
    let tiers = TieredStore::new(through, Tiers::memory(), SystemClock).unwrap();

    let updated = Arc::new(session_conformance::fixtures::record("ann"));
    tiers.create(Arc::clone(&updated), None).await.unwrap();
    assert!(matches!(
        tiers.find(updated.id).await.unwrap(),
        Some(Found::Active(_, provenance)) if provenance.source == Source::Memory
    ));
    proxy.arm(Fault::Hush, updated.id.as_bytes());
    let mut changed = (*updated).clone();
    changed.label = Some("changed".to_owned());
    let done = async || stored(&direct, updated.id).await.0 > Revision::FIRST;
    drop_after(tiers.update(Arc::new(changed), Revision::FIRST), done).await;
    match tiers.find(updated.id).await.unwrap() {
        Some(Found::Active(record, provenance)) => {
            assert_eq!((record.label.as_deref(), provenance.source), (Some("changed"), Source::Store));
        }
        other => panic!("{other:?}"),
    }

    let ended = Arc::new(session_conformance::fixtures::record("bob"));
    tiers.create(Arc::clone(&ended), None).await.unwrap();
    proxy.arm(Fault::Hush, ended.id.as_bytes());
    let (scope, end) = (EndScope::id(ended.id), session_conformance::fixtures::logged_out(1));
    drop_after(tiers.end(&scope, &end, session_core::Timestamp::MAX), async || {
        stored(&direct, ended.id).await.1
    })
    .await;
    assert!(matches!(tiers.find(ended.id).await.unwrap(), Some(Found::Ended(found)) if found == end));
}

/// Returns the stored revision, and true if the session ended.
async fn stored(store: &PostgresStore, id: session_core::SessionId) -> (Revision, bool) {
    let record = store.load(&[id]).await.unwrap().pop().unwrap();
    (record.revision, record.ended().is_some())
}

/// Drops a write, whose reply never arrives, once the write took effect.
async fn drop_after<T>(write: impl Future<Output = T>, is_done: impl AsyncFn() -> bool) {
    tokio::select! {
        _ = write => panic!("the write returned although its reply is suppressed"),
        _ = until("the write took effect", is_done) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outage_is_not_an_unknown_session() {
    let Some(mut lab) = Lab::open().await else { return };
    let node = lab.node(Tiers::memory()).await;
    let (_, token) = node.sign_in("ann").await;
    let stranger = lab.node(Tiers::memory()).await;
    block_in_place(|| lab.server.kill().unwrap());
    for _ in 0..3 {
        assert_unavailable(stranger.validate(&token).await);
    }
    assert!(node.manager.stats().await.unwrap_err().is_transient());
}
