//! Invalidation between nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_core::{EndReason, InvalidationBus, ManualClock};
use session_manager::{Source, Tiers};

use crate::lab::{DEPLOYMENT, LONG_TIMEOUT, Lab, Node, ended, holds_tombstone, until};
use crate::storage;

/// Far longer than the test, so that only a message can invalidate a copy.
const LONG: Duration = Duration::from_secs(60);

fn tiers(lab: &Lab, bus: impl InvalidationBus) -> Tiers {
    let tiers = Tiers::memory()
        .with_scope(DEPLOYMENT)
        .with_cache(lab.cache())
        .with_bus(bus)
        .with_cache_timeout(LONG_TIMEOUT);
    tiers.with_max_stale(LONG).with_l1_max_age(LONG)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_reaches_redis_and_the_other_nodes_memory_at_once() {
    let Some(lab) = Lab::open().await else { return };
    let (here, there) = (lab.node(tiers(&lab, lab.bus())), lab.node(tiers(&lab, lab.bus())));
    assert_end_is_known_at_once(&lab, &here, &there).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_reaches_the_other_node_over_a_postgres_bus() {
    let Some(lab) = Lab::open().await else { return };
    let table = storage::fresh_table();
    let (one, another) = (lab.postgres_bus(&table).await, lab.postgres_bus(&table).await);
    let (here, there) = (lab.node(tiers(&lab, one)), lab.node(tiers(&lab, another)));
    assert_end_is_known_at_once(&lab, &here, &there).await;
}

async fn assert_end_is_known_at_once(lab: &Lab, here: &Node, there: &Node) {
    here.wait_for_bus().await;
    there.wait_for_bus().await;
    let cache = lab.cache();
    let mut lags = Vec::new();
    for _ in 0..20 {
        let (id, token) = here.sign_in("ann").await;
        // The message about the creation is still on its way, and invalidates copies read before it
        // arrives.
        until("the other node has a copy", async || there.source(&token).await == Source::Memory).await;

        here.revoke(id).await;
        let revoked = Instant::now();
        assert!(
            holds_tombstone(lab.scope(), &cache, id).await,
            "the shared cache has no tombstone when `revoke` returns"
        );
        until("the other node knows the end", async || there.validate(&token).await.is_err()).await;
        lags.push(revoked.elapsed());
        assert_eq!(ended(there.validate(&token).await).reason, EndReason::RevokedByAdmin);
    }
    lags.sort_unstable();
    println!("the other node knows an end after {:?}, at most {:?}", lags[10], lags[19]);
    assert!(lags[10] < Duration::from_millis(500), "{lags:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweep_invalidates_every_copy() {
    let Some(lab) = Lab::open().await else { return };
    let clock = Arc::new(ManualClock::default());
    let node = || {
        Node::on(Arc::clone(&lab.store), |builder| {
            builder.with_tiers(tiers(&lab, lab.bus())).with_clock(Arc::clone(&clock))
        })
    };
    let (here, there) = (node(), node());
    here.wait_for_bus().await;
    there.wait_for_bus().await;
    let (id, token) = here.sign_in("ann").await;
    there.validate(&token).await.unwrap();
    clock.advance(Duration::from_secs(25 * 3600));

    assert_eq!(here.manager.sweep().await.unwrap().ended, 1);

    assert!(holds_tombstone(lab.scope(), &lab.cache(), id).await);
    let before = there.faults.calls("load");
    until("the other node knows the end", async || {
        let outcome = there.validate(&token).await;
        there.faults.calls("load") == before && ended(outcome).reason == EndReason::IdleTimeout
    })
    .await;
}
