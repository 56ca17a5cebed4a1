//! How rarely the store of record is read, and which tier answers instead.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use session_core::{ManualClock, SessionStore};
use session_manager::{Source, Tiers};
use tokio::task::JoinSet;

use crate::lab::{DEPLOYMENT, LONG_TIMEOUT, Lab, Node, held, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_concurrent_misses_read_the_store_once() {
    let Some(lab) = Lab::open().await else { return };
    let (_, token) = lab.node(Tiers::none().with_scope(DEPLOYMENT)).sign_in("ann").await;
    for tiers in [
        Tiers::memory().with_scope(DEPLOYMENT),
        Tiers::none().with_scope(DEPLOYMENT),
        Tiers::none().with_scope(DEPLOYMENT).with_cache(lab.cache()),
    ] {
        while !thousand_validate(&Arc::new(lab.node(tiers.clone())), &token).await {
            lab.flush_redis();
        }
        lab.flush_redis();
    }
}

/// Returns false if the run proves nothing, because some requests began after the store's answer.
async fn thousand_validate(node: &Arc<Node>, token: &str) -> bool {
    const ANSWER: Duration = Duration::from_secs(1);
    node.faults.arm(session_conformance::faults::Fault::delay(ANSWER).on("load"));
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..1_000 {
        let (node, token) = (Arc::clone(node), token.to_owned());
        asking.spawn(async move {
            let mut source = pin!(node.source(&token));
            let first = poll_fn(|context| Poll::Ready(source.as_mut().poll(context))).await;
            let asked = began.elapsed();
            match first {
                Poll::Ready(source) => (source, asked),
                Poll::Pending => (source.await, asked),
            }
        });
    }
    let answers = asking.join_all().await;
    if answers.iter().any(|(_, asked)| *asked >= ANSWER) {
        return false;
    }
    assert!(answers.iter().all(|(source, _)| *source == Source::Store), "{answers:?}");
    assert_eq!(node.faults.calls("load"), 1);
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_requests_in_a_minute_cause_one_write() {
    let Some(lab) = Lab::open().await else { return };
    let cache = lab.cache();
    for (tiers, is_shared) in [
        (Tiers::memory().with_scope(DEPLOYMENT), false),
        (Tiers::memory().with_scope(DEPLOYMENT).with_cache(lab.cache()), true),
        (Tiers::none().with_scope(DEPLOYMENT).with_cache(lab.cache()), true),
    ] {
        let clock = Arc::new(ManualClock::default());
        let node = Node::on(Arc::clone(&lab.store), |builder| {
            let tiers = tiers.with_cache_timeout(LONG_TIMEOUT);
            let builder = builder.with_clock(Arc::clone(&clock)).with_tiers(tiers);
            builder.with_touch_flush(Duration::from_millis(1))
        });
        let (id, token) = node.sign_in("ann").await;
        let validate = async || {
            let seen = node.validate(&token).await.unwrap().provenance();
            let is_kept = async || {
                held(lab.scope(), &cache, id).await.is_some_and(|entry| entry.verified_at >= seen.verified_at)
            };
            if is_shared && seen.source == Source::Store {
                // Copies are written in the background, and the next validation may come before
                // that.
                until("Redis has the copy", is_kept).await;
            }
        };
        clock.advance(Duration::from_secs(61));
        let began = node.manager.now();
        validate().await;
        let stored = async || lab.store.load(&[id]).await.unwrap().pop().unwrap();
        until("the last-seen update is written", async || stored().await.last_seen_at == began).await;
        for _ in 0..1_000 {
            clock.advance(Duration::from_millis(59));
            validate().await;
        }
        // Writes pending last-seen updates.
        node.manager.shutdown().await;
        assert_eq!(node.faults.calls("touch"), 1);
        assert_eq!(stored().await.last_seen_at, began);
        println!("{} reads of the store for 1,001 requests", node.faults.calls("load"));
        assert!(node.faults.calls("load") < 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provenance_names_the_source_and_its_age() {
    let Some(lab) = Lab::open().await else { return };
    let clock = Arc::new(ManualClock::default());
    let node = |tiers| {
        Node::on(Arc::clone(&lab.store), |builder| builder.with_clock(Arc::clone(&clock)).with_tiers(tiers))
    };
    let both =
        || Tiers::memory().with_scope(DEPLOYMENT).with_cache(lab.cache()).with_cache_timeout(LONG_TIMEOUT);
    let (here, there) = (node(both()), node(both()));
    let signed_in = here.manager.now();
    let (_, token) = here.sign_in("ann").await;
    clock.advance(Duration::from_secs(10));
    // The copies in memory and in Redis have the same verification time.
    for source in [Source::Shared("redis"), Source::Memory] {
        let provenance = there.validate(&token).await.unwrap().provenance();
        assert_eq!((provenance.source, provenance.verified_at), (source, signed_in));
        assert!(provenance.is_cached() && !provenance.degraded);
    }
    clock.advance(Duration::from_secs(25));
    let read = there.manager.now();
    let provenance = there.validate(&token).await.unwrap().provenance();
    assert_eq!((provenance.source, provenance.verified_at), (Source::Store, read), "the copies were too old");
    assert!(!provenance.is_cached());
    let authoritative = there.manager.validate_authoritative(&token, &Default::default()).await.unwrap();
    assert_eq!(authoritative.provenance().source, Source::Store);
}
