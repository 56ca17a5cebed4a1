//! The cases.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use session_core::limits::MAX_BATCH;
use session_core::{BusEvent, BusHealth, ErrorKind, Invalidation, Revision, Scope, SessionId};
use tokio::time::{sleep, timeout};

use super::BusHarness;
use super::harness::{change, number, subscribe};
use crate::fixtures::SCOPE;

const OTHER: Scope = Scope::from_bytes([9; 16]);

/// Longer than the time in which a gap must be detected.
const QUIET: Duration = Duration::from_millis(4_500);

/// A published change reaches all nodes that are subscribed.
pub async fn change_reaches_every_other_node(h: BusHarness) {
    let publisher = h.node();
    let (_a, mut at_a) = h.subscribed().await;
    let (_b, mut at_b) = h.subscribed().await;
    publisher.publish(SCOPE, &[change(1)]).await.expect("publish");
    assert_eq!((at_a.numbers().await, at_b.numbers().await), (vec![1], vec![1]));
}

/// A node does not receive what it published itself.
pub async fn own_changes_are_not_delivered(h: BusHarness) {
    let (a, mut at_a) = h.subscribed().await;
    let (b, _at_b) = h.subscribed().await;
    a.publish(SCOPE, &[change(1)]).await.expect("publish");
    b.publish(SCOPE, &[change(2)]).await.expect("publish");
    assert_eq!(at_a.numbers().await, [2], "the first change that a node receives is another node's");
}

/// Ids, the highest revision and both kinds of change arrive unaltered.
pub async fn change_arrives_as_it_was_published(h: BusHarness) {
    let (publisher, (_a, mut at_a)) = (h.node(), h.subscribed().await);
    let highest = Revision::new(i64::MAX.unsigned_abs()).expect("a revision");
    let change = |name: &[u8], revision, ended| {
        Invalidation::new(SessionId::derive("bus", name, None), revision, ended)
    };
    let changes = [
        change(b"first", Revision::FIRST, false),
        change(b"first", Revision::FIRST, true),
        change(b"last", highest, false),
        change(b"last", highest, true),
    ];
    publisher.publish(SCOPE, &changes).await.expect("publish");
    assert_eq!(at_a.event().await, BusEvent::Changed(SCOPE, changes.to_vec()));
}

/// Changes of two scopes that are published at the same time are not mixed up.
pub async fn changes_arrive_under_their_scope(h: BusHarness) {
    let (publisher, (_a, mut at_a)) = (h.node(), h.subscribed().await);
    let scope = |of: u64| if of.is_multiple_of(3) { OTHER } else { SCOPE };
    let publish = (1..=60).map(|of| {
        let publisher = publisher.clone();
        async move { publisher.publish(scope(of), &[change(of), change(of + 100)]).await }
    });
    join_all(publish).await.into_iter().for_each(|published| published.expect("publish"));
    for _ in 1..=60 {
        let BusEvent::Changed(under, changes) = at_a.event().await else { panic!("expected changes") };
        assert_eq!(under, scope(number(&changes[0])));
        assert_eq!(number(&changes[1]), number(&changes[0]) + 100, "changes of one message stay together");
    }
}

/// Changes arrive in the order in which a node published them.
pub async fn changes_of_a_node_arrive_in_order(h: BusHarness) {
    let (publisher, (_a, mut at_a)) = (h.node(), h.subscribed().await);
    for of in 1..=100 {
        publisher.publish(SCOPE, &[change(of)]).await.expect("publish");
    }
    assert!(at_a.many(100).await.into_iter().eq(1..=100));
}

/// Many tasks of one node publish at the same time: nothing is lost, repeated or reported as lost.
pub async fn concurrent_changes_arrive_once_each(h: BusHarness) {
    let (publisher, (_a, mut at_a)) = (h.node(), h.subscribed().await);
    let publish = |first: u64| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            for of in first..first + 50 {
                publisher.publish(SCOPE, &[change(of)]).await.expect("publish");
            }
        })
    };
    let tasks: Vec<_> = [1, 51, 101, 151].map(publish).into();
    let mut numbers = at_a.many(200).await;
    join_all(tasks).await.into_iter().for_each(|task| task.expect("the task publishes"));
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=200));
    at_a.assert_quiet(QUIET).await;
}

/// Concurrent changes of tasks of several nodes arrive once each.
pub async fn changes_of_several_nodes_arrive_once_each(h: BusHarness) {
    let (_a, mut at_a) = h.subscribed().await;
    let publish = |first: u64| {
        let publisher = h.node();
        tokio::spawn(async move {
            for of in first..first + 30 {
                publisher.publish(SCOPE, &[change(of)]).await.expect("publish");
            }
            publisher
        })
    };
    let tasks: Vec<_> = (0..6).map(|node| publish(node * 30 + 1)).collect();
    let mut numbers = at_a.many(180).await;
    let _nodes = join_all(tasks).await;
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=180));
    at_a.assert_quiet(QUIET).await;
}

/// [`MAX_BATCH`] changes arrive as one event.
pub async fn largest_batch_arrives_whole(h: BusHarness) {
    let (publisher, (_a, mut at_a)) = (h.node(), h.subscribed().await);
    let changes: Vec<_> = (1..=MAX_BATCH as u64).map(change).collect();
    publisher.publish(SCOPE, &changes).await.expect("publish");
    assert_eq!(at_a.event().await, BusEvent::Changed(SCOPE, changes));
}

/// More than [`MAX_BATCH`] changes are invalid.
pub async fn too_many_changes_are_refused(h: BusHarness) {
    let changes: Vec<_> = (1..=MAX_BATCH as u64 + 1).map(change).collect();
    let refused = h.node().publish(SCOPE, &changes).await.expect_err("501 changes");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

/// Refused changes are not sent, in whole or in part, and later changes are no gap.
pub async fn refused_changes_leave_no_gap(h: BusHarness) {
    let (publisher, (_a, mut at_a)) = (h.node(), h.subscribed().await);
    let changes: Vec<_> = (1..=MAX_BATCH as u64 + 1).map(change).collect();
    publisher.publish(SCOPE, &changes).await.expect_err("501 changes");
    publisher.publish(SCOPE, &[change(1)]).await.expect("publish");
    assert_eq!(at_a.numbers().await, [1]);
    at_a.assert_quiet(QUIET).await;
}

/// Publishing no changes succeeds, and nothing is received.
pub async fn no_changes_are_no_message(h: BusHarness) {
    let (publisher, (_a, mut at_a)) = (h.node(), h.subscribed().await);
    publisher.publish(SCOPE, &[]).await.expect("publish nothing");
    publisher.publish(SCOPE, &[change(1)]).await.expect("publish");
    assert_eq!(at_a.numbers().await, [1]);
}

/// Two subscriptions of one node receive the same.
pub async fn every_subscription_receives_everything(h: BusHarness) {
    let (publisher, (a, mut first)) = (h.node(), h.subscribed().await);
    let mut second = subscribe(&a).await;
    for of in 1..=10 {
        publisher.publish(SCOPE, &[change(of)]).await.expect("publish");
    }
    assert_eq!((first.many(10).await, second.many(10).await), ((1..=10).collect(), (1..=10).collect()));
}

/// A subscription that is dropped does not end another one of the node.
pub async fn dropped_subscription_leaves_the_others(h: BusHarness) {
    let (publisher, (a, first)) = (h.node(), h.subscribed().await);
    let mut second = subscribe(&a).await;
    drop(first);
    publisher.publish(SCOPE, &[change(1)]).await.expect("publish");
    assert_eq!(second.numbers().await, [1]);
}

/// A subscription keeps receiving after the bus that created it was dropped.
pub async fn subscription_outlives_its_bus(h: BusHarness) {
    let (publisher, (a, mut at_a)) = (h.node(), h.subscribed().await);
    drop(a);
    publisher.publish(SCOPE, &[change(1)]).await.expect("publish");
    assert_eq!(at_a.numbers().await, [1]);
}

/// A node can subscribe again after its last subscription was dropped.
pub async fn new_subscription_receives_after_the_last_was_dropped(h: BusHarness) {
    let (a, at_a) = h.subscribed().await;
    drop(at_a);
    let mut again = subscribe(&a).await;
    h.node().publish(SCOPE, &[change(1)]).await.expect("publish");
    // Changes from before the subscription may be reported as a resync.
    while again.event().await == BusEvent::Resync {}
}

/// A call of `next` can be dropped and repeated without losing an event.
pub async fn cancelled_next_loses_nothing(h: BusHarness) {
    let (publisher, (_a, mut at_a)) = (h.node(), h.subscribed().await);
    let publish = async {
        for of in 1..=100 {
            publisher.publish(SCOPE, &[change(of)]).await.expect("publish");
        }
    };
    let receive = async {
        let (mut numbers, mut cancelled) = (Vec::new(), 0);
        while numbers.len() < 100 {
            match at_a.0.next().now_or_never() {
                Some(BusEvent::Changed(SCOPE, changes)) => numbers.extend(changes.iter().map(number)),
                Some(other) => panic!("expected changes, not {other:?}"),
                None => cancelled += 1,
            }
            tokio::task::yield_now().await;
        }
        (numbers, cancelled)
    };
    let both = async { tokio::join!(publish, receive) };
    let ((), (numbers, cancelled)) =
        timeout(Duration::from_secs(20), both).await.expect("all changes within 20 seconds");
    assert!(numbers.into_iter().eq(1..=100));
    assert_ne!(cancelled, 0, "next never had to wait");
}

/// A publication whose future is dropped arrives, or the other nodes resync.
pub async fn cancelled_publication_arrives_or_is_a_resync(h: BusHarness) {
    let (publisher, (_a, mut at_a)) = (h.node(), h.subscribed().await);
    publisher.publish(SCOPE, &[change(1)]).await.expect("publish");
    assert_eq!(at_a.numbers().await, [1]);
    drop(publisher.publish(SCOPE, &[change(2)]).now_or_never());
    publisher.publish(SCOPE, &[change(3)]).await.expect("publish");
    let mut received = Vec::new();
    while !received.contains(&BusEvent::Resync) && !received.contains(&changed(2)) {
        received.push(at_a.event().await);
    }
}

fn changed(of: u64) -> BusEvent {
    BusEvent::Changed(SCOPE, vec![change(of)])
}

/// A subscriber that reads late receives everything in order, or a resync in place of what it
/// missed.
pub async fn slow_subscriber_receives_everything_or_resyncs(h: BusHarness) {
    const COUNT: u64 = 3_000;
    let (publisher, (_a, mut slow)) = (h.node(), h.subscribed().await);
    for first in (1..=COUNT).step_by(50) {
        let changes = (first..first + 50).map(|of| [change(of)]).collect::<Vec<_>>();
        let published = changes.iter().map(|change| publisher.publish(SCOPE, change));
        join_all(published).await.into_iter().for_each(|published| published.expect("publish"));
    }
    // By now the last message has arrived or is about to arrive.
    sleep(Duration::from_millis(500)).await;
    let mut expected = 1;
    while expected <= COUNT {
        match slow.event().await {
            BusEvent::Changed(SCOPE, changes) => {
                for received in changes.iter().map(number) {
                    assert_eq!(received, expected, "a change is missing without a resync");
                    expected += 1;
                }
            }
            _ => break,
        }
    }
    publisher.publish(SCOPE, &[change(COUNT + 1)]).await.expect("publish");
    while slow.event().await != changed(COUNT + 1) {}
}

/// A bus is healthy when `subscribe` has returned, and stays so.
pub async fn subscribed_bus_is_healthy(h: BusHarness) {
    let (a, _at_a) = h.subscribed().await;
    let mut healthy = 0;
    for _ in 0..20 {
        healthy += u32::from(a.health() == BusHealth::Healthy);
        sleep(Duration::from_millis(100)).await;
    }
    assert!(healthy >= 18, "healthy {healthy} of 20 times");
}

/// Nodes that publish nothing for a while receive nothing.
pub async fn idle_nodes_do_not_resync(h: BusHarness) {
    let ((_a, mut at_a), (_b, mut at_b)) = (h.subscribed().await, h.subscribed().await);
    tokio::join!(at_a.assert_quiet(QUIET), at_b.assert_quiet(QUIET));
}

/// A node that has published and is dropped causes no resync.
pub async fn node_that_leaves_is_no_resync(h: BusHarness) {
    let (publisher, (_a, mut at_a)) = (h.node(), h.subscribed().await);
    publisher.publish(SCOPE, &[change(1)]).await.expect("publish");
    assert_eq!(at_a.numbers().await, [1]);
    drop(publisher);
    at_a.assert_quiet(QUIET).await;
}
