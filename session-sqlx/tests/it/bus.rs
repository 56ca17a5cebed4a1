//! The bus in PostgreSQL on real servers, healthy and not.

mod failures;
mod lab;

use session_conformance::fixtures::SCOPE;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use session_core::{BusEvent, BusHealth, ErrorKind, InvalidationBus, Scope};
use session_sqlx::PostgresBus;
use sqlx::PgPool;
use tokio::time::{Instant, timeout};

use lab::{
    GAP_IS_TOLD, Lab, SOON, assert_quiet, beat, change, changed, changes, fails_in_time, header, listening,
    next, subscribed, until, until_gap, until_health, until_resync,
};

#[tokio::test]
async fn a_change_is_heard_elsewhere_and_not_where_it_was_made() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, mut at_a), (b, mut at_b)) = (lab.node().await, lab.node().await);
    let began = Instant::now();
    for number in 1..=10 {
        a.publish(SCOPE, &[change(number), change(number + 1)]).await.unwrap();
        assert_eq!(next(&mut at_b).await, BusEvent::Changed(SCOPE, vec![change(number), change(number + 1)]));
    }
    // Else each comes with the next beat.
    assert!(began.elapsed() < PostgresBus::BEAT * 7, "{:?}: it was not woken", began.elapsed());
    b.publish(SCOPE, &[change(3)]).await.unwrap();
    assert_eq!(changed(&mut at_a).await, [3], "the first that it hears");
    tokio::join!(assert_quiet(&mut at_a, GAP_IS_TOLD), assert_quiet(&mut at_b, GAP_IS_TOLD));
}

/// Publications of two scopes at once: none of them says the changes of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_comes_under_its_scope() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (_b, mut at_b)) = (lab.node().await, lab.node().await);
    let scope = |number: u64| if number.is_multiple_of(2) { SCOPE } else { Scope::from_bytes([9; 16]) };
    let published = (1..=40).map(|number| {
        let a = a.clone();
        async move { a.publish(scope(number), &[change(number), change(number + 100)]).await }
    });
    for result in join_all(published).await {
        result.unwrap();
    }
    for number in 1..=40 {
        let expected = vec![change(number), change(number + 100)];
        assert_eq!(next(&mut at_b).await, BusEvent::Changed(scope(number), expected));
    }
}

#[tokio::test]
async fn a_clone_is_the_same_node() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, mut at_a), (b, _at_b)) = (lab.node().await, lab.node().await);
    a.clone().publish(SCOPE, &[change(1)]).await.unwrap();
    b.publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!(changed(&mut at_a).await, [2]);
}

#[tokio::test]
async fn buses_with_other_tables_hear_nothing() {
    let Some((lab, shop)) = Lab::shared().await.zip(Lab::shared().await) else { return };
    let ((_a, mut at_a), (_b, mut at_shop)) = (lab.node().await, shop.node().await);
    lab.bus().publish(SCOPE, &[change(1)]).await.unwrap();
    shop.bus().publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!((changed(&mut at_a).await, changed(&mut at_shop).await), (vec![1], vec![2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_sender_keep_their_order() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (_b, mut at_b)) = (lab.node().await, lab.node().await);
    let messages: Vec<_> = (1..=200).map(|number| [change(number)]).collect();
    // All at once: none waits for the answer to the one before.
    for result in join_all(messages.iter().map(|message| a.publish(SCOPE, message))).await {
        result.unwrap();
    }
    for number in 1..=200 {
        assert_eq!(changed(&mut at_b).await, [number]);
    }
    assert_quiet(&mut at_b, GAP_IS_TOLD).await;
}

/// Numbers are given in the order in which messages become visible, so no reader goes past one that is not committed yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_nodes_publish_at_once_arrives_without_a_gap() {
    const NODES: u64 = 8;
    const EACH: u64 = 100;
    let Some(lab) = Lab::shared().await else { return };
    let (_b, mut at_b) = lab.node().await;
    let publish = |node: u64| {
        let bus = lab.bus();
        tokio::spawn(async move {
            for number in 1..=EACH {
                bus.publish(SCOPE, &[change(node * EACH + number)]).await.unwrap();
            }
            bus
        })
    };
    let tasks: Vec<_> = (0..NODES).map(publish).collect();
    let mut heard = Vec::new();
    while heard.len() < usize::try_from(NODES * EACH).unwrap() {
        heard.extend(changed(&mut at_b).await);
    }
    let _buses = join_all(tasks).await;
    heard.sort_unstable();
    assert!(heard.into_iter().eq(1..=NODES * EACH));
    assert_quiet(&mut at_b, GAP_IS_TOLD).await;
}

/// Somebody is slow to commit: those behind wait, and nothing is read past it.
#[tokio::test]
async fn a_message_that_is_not_committed_yet_is_not_passed_by() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (_b, mut at_b)) = (lab.node().await, lab.node().await);
    let (mut slow, mut watcher) = (lab.stranger().await, lab.stranger().await);
    slow.ask("BEGIN").await;
    slow.say(&changes(1)).await;
    let second = [change(2)];
    let (published, ()) = tokio::join!(a.publish(SCOPE, &second), async {
        until(SOON, "behind it", async || watcher.waiting().await > 0).await;
        slow.ask("COMMIT").await;
    });
    published.unwrap();
    assert_eq!((changed(&mut at_b).await, changed(&mut at_b).await), (vec![1], vec![2]));
}

#[tokio::test]
async fn subscriptions_of_a_node_share_a_connection() {
    let Some(lab) = Lab::shared().await else { return };
    let mut stranger = lab.stranger().await;
    let ((a, _at_a), (b, mut first)) = (lab.node().await, lab.node().await);
    let mut second = subscribed(&b).await;
    until(SOON, "one of each node", async || stranger.listening().await == 2).await;
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!((changed(&mut first).await, changed(&mut second).await), (vec![1], vec![1]));
    drop(first);
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!(changed(&mut second).await, [2]);
}

#[tokio::test]
async fn five_hundred_changes_are_one_message() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (_b, mut at_b)) = (lab.node().await, lab.node().await);
    let many: Vec<_> = (1..=500).map(change).collect();
    a.publish(SCOPE, &many).await.unwrap();
    assert_eq!(next(&mut at_b).await, BusEvent::Changed(SCOPE, many));
}

#[tokio::test]
async fn too_many_changes_are_invalid_and_none_are_nothing_both_without_a_server() {
    let nowhere = PostgresBus::new(PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/none").unwrap());
    let many: Vec<_> = (1..=501).map(change).collect();
    assert_eq!(nowhere.publish(SCOPE, &many).await.unwrap_err().kind(), ErrorKind::Invalid);
    nowhere.publish(SCOPE, &[]).await.unwrap();
    fails_in_time(&nowhere).await;
}

#[tokio::test]
async fn what_is_refused_uses_no_number() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (_b, mut at_b)) = (lab.node().await, lab.node().await);
    let many: Vec<_> = (1..=501).map(change).collect();
    a.publish(SCOPE, &many).await.unwrap_err();
    a.publish(SCOPE, &[]).await.unwrap();
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [1]);
    assert_quiet(&mut at_b, GAP_IS_TOLD).await;
}

#[tokio::test]
async fn what_no_bus_says_is_ignored_and_counted() {
    let Some(lab) = Lab::shared().await else { return };
    let ((b, mut at_b), mut stranger) = (lab.node().await, lab.stranger().await);
    let mut next_version = changes(1);
    next_version[2] = 2;
    let mut cut = changes(1);
    cut.pop();
    for garbage in [&b"hello"[..], &[], &next_version, &cut, &vec![b'S'; 1 << 20]] {
        stranger.say(garbage).await;
    }
    stranger.say(&changes(1)).await;
    assert_eq!(changed(&mut at_b).await, [1], "it is read without being woken");
    assert_quiet(&mut at_b, GAP_IS_TOLD).await;
    assert_eq!(b.ignored(), 5);
    until_health(&b, BusHealth::Healthy, SOON).await;
}

#[tokio::test]
async fn what_is_missing_of_a_node_is_a_resync() {
    let Some(lab) = Lab::shared().await else { return };
    let ((_b, mut at_b), mut stranger) = (lab.node().await, lab.stranger().await);
    for number in [1, 1, 2, 1, 2] {
        stranger.say(&changes(number)).await;
    }
    stranger.say(&beat(2)).await;
    assert_eq!((changed(&mut at_b).await, changed(&mut at_b).await), (vec![1], vec![2]), "each once");
    stranger.say(&changes(4)).await;
    let heard = until_gap(&mut at_b, &mut stranger, &beat(4)).await;
    assert!(heard.is_empty() || heard == [4], "{heard:?}");
    stranger.say(&beat(5)).await;
    until_gap(&mut at_b, &mut stranger, &beat(5)).await;
    stranger.say(&header(b'Z', 0)).await;
    assert!(until_gap(&mut at_b, &mut stranger, &beat(5)).await.is_empty(), "of a later release");
}

#[tokio::test]
async fn a_publication_that_was_given_up_is_a_resync_elsewhere() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (_b, mut at_b)) = (lab.node().await, lab.node().await);
    // It is not even its turn when the caller gives up.
    let mut held = lab.stranger().await;
    held.ask("BEGIN; SELECT seq FROM {t}_head FOR UPDATE").await;
    let _ = timeout(Duration::from_millis(100), a.publish(SCOPE, &[change(1)])).await.unwrap_err();
    held.ask("ROLLBACK").await;
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    // The server may have gone on with the first one, and then nothing is missing.
    let mut events = vec![next(&mut at_b).await];
    while events.last() != Some(&BusEvent::Changed(SCOPE, vec![change(2)])) {
        events.push(next(&mut at_b).await);
    }
    let is_told = timeout(GAP_IS_TOLD, at_b.next()).await.is_ok_and(|event| event == BusEvent::Resync);
    let is_first = events[0] == BusEvent::Changed(SCOPE, vec![change(1)]);
    assert!(is_told || is_first || events.contains(&BusEvent::Resync), "{events:?}");
}

#[tokio::test]
async fn a_publication_that_was_given_up_before_there_was_a_connection_is_a_resync_elsewhere() {
    let Some(lab) = Lab::shared().await else { return };
    let (a, (_b, mut at_b)) = (lab.bus(), lab.node().await);
    assert!(a.publish(SCOPE, &[change(1)]).now_or_never().is_none());
    assert!(until_resync(&mut at_b, SOON).await.is_empty());
}

#[tokio::test]
async fn a_slow_subscriber_resyncs_and_goes_on() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (b, mut slow)) = (lab.node().await, lab.node().await);
    let mut fast = subscribed(&b).await;
    let count = PostgresBus::BUFFER as u64 + 1;
    for number in 1..=count {
        a.publish(SCOPE, &[change(number)]).await.unwrap();
        assert_eq!(changed(&mut fast).await, [number]);
    }
    assert_eq!(next(&mut slow).await, BusEvent::Resync);
    a.publish(SCOPE, &[change(count + 1)]).await.unwrap();
    assert_eq!(changed(&mut slow).await, [count + 1], "what came before the resync is not told again");
    assert_eq!(changed(&mut fast).await, [count + 1], "the other one was not disturbed");
}

#[tokio::test]
async fn next_can_be_given_up_without_losing_anything() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (_b, mut at_b)) = (lab.node().await, lab.node().await);
    let publish = async {
        for number in 1..=300 {
            a.publish(SCOPE, &[change(number)]).await.unwrap();
        }
    };
    let mut given_up = 0;
    let hear = async {
        let mut heard = Vec::new();
        while heard.len() < 300 {
            // One poll.
            match at_b.next().now_or_never() {
                Some(BusEvent::Changed(SCOPE, changes)) => heard.push(changes[0].revision.get()),
                Some(other) => panic!("{other:?}"),
                None => given_up += 1,
            }
            tokio::task::yield_now().await;
        }
        heard
    };
    let ((), heard) = timeout(SOON * 4, async { tokio::join!(publish, hear) }).await.unwrap();
    assert!(heard.into_iter().eq(1..=300));
    assert_ne!(given_up, 0);
}

#[tokio::test]
async fn whoever_joins_late_resyncs_because_it_does_not_know_what_was_said() {
    let Some(lab) = Lab::shared().await else { return };
    let (a, _at_a) = lab.node().await;
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    let (_b, mut at_b) = lab.node().await;
    assert!(until_resync(&mut at_b, SOON).await.is_empty());
}

#[tokio::test]
async fn a_bus_is_degraded_while_nobody_listens() {
    let Some(lab) = Lab::shared().await else { return };
    let (mut stranger, bus) = (lab.stranger().await, lab.bus());
    assert_eq!(bus.health(), BusHealth::Degraded);
    bus.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(bus.health(), BusHealth::Degraded);
    let (bus, subscription) = listening(bus).await;
    until(SOON, "one connection", async || stranger.listening().await == 1).await;
    drop(subscription);
    until(SOON, "unsubscribed", async || stranger.listening().await == 0).await;
    assert_eq!(bus.health(), BusHealth::Degraded);
    let _again = listening(bus).await;
    until(SOON, "one connection", async || stranger.listening().await == 1).await;
}

#[tokio::test]
async fn nothing_is_left_when_everything_is_dropped() {
    let Some(lab) = Lab::start().await else { return };
    let mut stranger = lab.stranger().await;
    let (a, mut at_a) = lab.node().await;
    until(SOON, "two connections", async || stranger.others().await == 2).await;
    drop(a);
    stranger.say(&changes(1)).await;
    assert_eq!(changed(&mut at_a).await, [1], "a subscription outlives its bus");
    drop(at_a);
    until(SOON, "closed", async || stranger.others().await == 0).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    until(SOON, "without tasks", async || metrics.num_alive_tasks() <= 1).await;
}

#[tokio::test]
async fn neither_a_farewell_nor_a_node_that_only_publishes_is_a_resync() {
    let Some(lab) = Lab::shared().await else { return };
    let (_b, mut at_b) = lab.node().await;
    let (leaves, publishes) = (lab.bus(), lab.bus());
    for bus in [&leaves, &publishes] {
        bus.publish(SCOPE, &[change(1)]).await.unwrap();
        assert_eq!(changed(&mut at_b).await, [1]);
    }
    drop(leaves);
    assert_quiet(&mut at_b, PostgresBus::SILENCE + PostgresBus::BEAT * 2).await;
}

#[tokio::test]
async fn a_node_that_falls_silent_is_a_resync() {
    let Some(lab) = Lab::shared().await else { return };
    let ((_b, mut at_b), mut stranger) = (lab.node().await, lab.stranger().await);
    let said = Instant::now();
    stranger.say(&changes(1)).await;
    assert_eq!(changed(&mut at_b).await, [1]);
    assert!(until_resync(&mut at_b, SOON).await.is_empty());
    assert!(said.elapsed() >= PostgresBus::SILENCE, "{:?}", said.elapsed());
}

#[tokio::test]
async fn old_messages_are_removed_and_young_ones_are_not() {
    const OLD: i64 = 1_700;
    let Some(lab) = Lab::shared().await else { return };
    let mut stranger = lab.stranger().await;
    let bus = lab.bus();
    bus.publish(SCOPE, &[change(1)]).await.unwrap();
    stranger
        .ask(&format!(
            "WITH head AS (UPDATE {{t}}_head SET seq = seq + {OLD} RETURNING seq)
                INSERT INTO {{t}} SELECT head.seq - {OLD} + n, 0, '' FROM head, generate_series(1, {OLD}) AS n;
                UPDATE {{t}} SET at = 0"
        ))
        .await;
    until(SOON * 4, "removed", async || stranger.rows().await < 100).await;
    assert!(stranger.rows().await > 0, "the beats of the last minute");
}
