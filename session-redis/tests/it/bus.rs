//! The bus on real servers, healthy and not.

mod failures;
mod lab;

use futures_util::FutureExt;
use futures_util::future::join_all;
use session_conformance::fixtures::SCOPE;
use session_core::{BusEvent, BusHealth, ErrorKind, InvalidationBus, Scope};
use session_redis::{Connection, RedisBus, redis};
use tokio::time::{Instant, timeout};

use lab::*;

#[tokio::test]
async fn a_change_is_heard_elsewhere_and_not_where_it_was_made() {
    let Some(server) = server() else { return };
    let ((a, mut at_a), (b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    a.publish(SCOPE, &[change(1), change(2)]).await.unwrap();
    assert_eq!(next(&mut at_b).await, BusEvent::Changed(SCOPE, vec![change(1), change(2)]));
    b.publish(SCOPE, &[change(3)]).await.unwrap();
    assert_eq!(changed(&mut at_a).await, [3], "the first that it hears");
    tokio::join!(assert_quiet(&mut at_a, GAP_IS_TOLD), assert_quiet(&mut at_b, GAP_IS_TOLD));
}

/// Publications of two scopes at once: none of them says the changes of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_comes_under_its_scope() {
    let Some(server) = server() else { return };
    let ((a, _at_a), (_b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
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
    let Some(server) = server() else { return };
    let ((a, mut at_a), (b, _at_b)) = (node(&server.url()).await, node(&server.url()).await);
    a.clone().publish(SCOPE, &[change(1)]).await.unwrap();
    b.publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!(changed(&mut at_a).await, [2]);
}

#[tokio::test]
async fn buses_with_other_prefixes_hear_nothing() {
    let Some(server) = server() else { return };
    let shop = publisher(&server.url()).await.with_prefix("shop".parse().unwrap());
    let (a, mut at_a) = node(&server.url()).await;
    let mut at_shop = subscribed(&shop).await;
    shop.publish(SCOPE, &[change(1)]).await.unwrap();
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    let other = publisher(&server.url()).await;
    let other_shop = other.clone().with_prefix("shop".parse().unwrap());
    other.publish(SCOPE, &[change(3)]).await.unwrap();
    other_shop.publish(SCOPE, &[change(4)]).await.unwrap();
    assert_eq!((changed(&mut at_a).await, changed(&mut at_shop).await), (vec![3], vec![4]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_sender_keep_their_order() {
    let Some(server) = server() else { return };
    let ((a, _at_a), (_b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    let messages: Vec<_> = (1..=500).map(|number| [change(number)]).collect();
    // All at once: none waits for the answer to the one before.
    for result in join_all(messages.iter().map(|message| a.publish(SCOPE, message))).await {
        result.unwrap();
    }
    for number in 1..=500 {
        assert_eq!(changed(&mut at_b).await, [number]);
    }
    assert_quiet(&mut at_b, GAP_IS_TOLD).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_tasks_publish_arrives_without_a_gap() {
    let Some(server) = server() else { return };
    let ((a, _at_a), (_b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    let publish = |first: u64| {
        let a = a.clone();
        tokio::spawn(async move {
            for number in first..first + 200 {
                a.publish(SCOPE, &[change(number)]).await.unwrap();
            }
        })
    };
    let tasks: Vec<_> = [1, 201, 401, 601].map(publish).into();
    let mut heard = Vec::new();
    while heard.len() < 800 {
        heard.extend(changed(&mut at_b).await);
    }
    for ended in join_all(tasks).await {
        ended.unwrap();
    }
    heard.sort_unstable();
    assert!(heard.into_iter().eq(1..=800));
    assert_quiet(&mut at_b, GAP_IS_TOLD).await;
}

#[tokio::test]
async fn subscriptions_of_a_node_share_a_connection() {
    let Some(server) = server() else { return };
    let mut stranger = Stranger::at(&server).await;
    let ((a, _at_a), (b, mut first)) = (node(&server.url()).await, node(&server.url()).await);
    let mut second = b.subscribe().await.unwrap();
    until(SOON, "one of each node", async || stranger.subscribed().await == 2).await;
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!((changed(&mut first).await, changed(&mut second).await), (vec![1], vec![1]));
    drop(first);
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!(changed(&mut second).await, [2]);
}

#[tokio::test]
async fn five_hundred_changes_are_one_message() {
    let Some(server) = server() else { return };
    let ((a, _at_a), (_b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    let many: Vec<_> = (1..=500).map(change).collect();
    a.publish(SCOPE, &many).await.unwrap();
    assert_eq!(next(&mut at_b).await, BusEvent::Changed(SCOPE, many));
}

#[tokio::test]
async fn too_many_changes_are_invalid_and_none_are_nothing_both_without_a_server() {
    let nowhere = bus("redis://127.0.0.1:1/");
    let many: Vec<_> = (1..=501).map(change).collect();
    assert_eq!(nowhere.publish(SCOPE, &many).await.unwrap_err().kind(), ErrorKind::Invalid);
    nowhere.publish(SCOPE, &[]).await.unwrap();
    assert_eq!(nowhere.publish(SCOPE, &many[..1]).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_is_refused_uses_no_number() {
    let Some(server) = server() else { return };
    let ((a, _at_a), (_b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    let many: Vec<_> = (1..=501).map(change).collect();
    a.publish(SCOPE, &many).await.unwrap_err();
    a.publish(SCOPE, &[]).await.unwrap();
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [1]);
    assert_quiet(&mut at_b, GAP_IS_TOLD).await;
}

#[tokio::test]
async fn what_no_bus_says_is_ignored_and_counted() {
    let Some(server) = server() else { return };
    let (mut stranger, (b, mut at_b)) = (Stranger::at(&server).await, node(&server.url()).await);
    let mut next_version = changes(1);
    next_version[2] = 2;
    let mut cut = changes(1);
    cut.pop();
    for garbage in [&b"hello"[..], &[], &next_version, &cut, &vec![b'S'; 1 << 20]] {
        stranger.say(garbage).await;
    }
    stranger.say(&changes(1)).await;
    assert_eq!(changed(&mut at_b).await, [1]);
    assert_quiet(&mut at_b, GAP_IS_TOLD).await;
    assert_eq!((b.ignored(), b.health()), (5, BusHealth::Healthy));
}

#[tokio::test]
async fn a_message_of_a_later_release_is_a_resync() {
    let Some(server) = server() else { return };
    let (mut stranger, (_b, mut at_b)) = (Stranger::at(&server).await, node(&server.url()).await);
    stranger.say(&header(b'Z', 0)).await;
    assert!(until_resync(&mut at_b, SOON).await.is_empty());
}

#[tokio::test]
async fn a_repeated_message_is_delivered_once() {
    let Some(server) = server() else { return };
    let (mut stranger, (_b, mut at_b)) = (Stranger::at(&server).await, node(&server.url()).await);
    for number in [1, 1, 2, 1, 2, 3] {
        stranger.say(&changes(number)).await;
    }
    for number in [1, 2, 3] {
        assert_eq!(changed(&mut at_b).await, [number]);
    }
    assert_quiet(&mut at_b, GAP_IS_TOLD).await;
}

#[tokio::test]
async fn a_number_that_is_left_out_is_a_resync() {
    let Some(server) = server() else { return };
    let (mut stranger, (_b, mut at_b)) = (Stranger::at(&server).await, node(&server.url()).await);
    stranger.say(&changes(1)).await;
    assert_eq!(changed(&mut at_b).await, [1]);
    stranger.say(&changes(3)).await;
    let heard = until_resync(&mut at_b, RedisBus::SILENCE).await;
    assert!(heard.is_empty() || heard == [3], "{heard:?}");
}

#[tokio::test]
async fn a_beat_that_names_what_was_not_heard_is_a_resync() {
    let Some(server) = server() else { return };
    let (mut stranger, (_b, mut at_b)) = (Stranger::at(&server).await, node(&server.url()).await);
    stranger.say(&changes(1)).await;
    stranger.say(&beat(1)).await;
    assert_eq!(changed(&mut at_b).await, [1]);
    stranger.say(&beat(2)).await;
    assert!(until_resync(&mut at_b, RedisBus::SILENCE).await.is_empty());
}

#[tokio::test]
async fn more_nodes_than_are_remembered_are_a_resync() {
    let Some(server) = server() else { return };
    let (mut stranger, (_b, mut at_b)) = (Stranger::at(&server).await, node(&server.url()).await);
    let numbers: Vec<_> = (0..=RedisBus::MAX_SENDERS).collect();
    // Not all of them at once, which would be too many to take in.
    for numbers in numbers.chunks(256) {
        let mut pipeline = redis::pipe();
        for number in numbers {
            let mut message = beat(0);
            message[4..12].copy_from_slice(&number.to_be_bytes());
            pipeline.cmd("PUBLISH").arg("session-kit:changes").arg(message).ignore();
        }
        pipeline.exec_async(&mut stranger.0).await.unwrap();
    }
    // Long before any of them could be missed.
    assert!(until_resync(&mut at_b, RedisBus::SILENCE).await.is_empty());
}

#[tokio::test]
async fn a_publication_that_was_given_up_is_a_resync_elsewhere() {
    let Some(server) = server() else { return };
    let ((a, _at_a), (_b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    // The connection's task has not run when the caller gives up.
    assert!(a.publish(SCOPE, &[change(1)]).now_or_never().is_none());
    assert!(until_resync(&mut at_b, RedisBus::BEAT * 4).await.is_empty());
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [2]);
}

#[tokio::test]
async fn a_publication_that_was_given_up_before_there_was_a_connection_is_a_resync_elsewhere() {
    let Some(server) = server() else { return };
    let (a, (_b, mut at_b)) = (bus(&server.url()), node(&server.url()).await);
    assert!(a.publish(SCOPE, &[change(1)]).now_or_never().is_none());
    assert!(until_resync(&mut at_b, RedisBus::BEAT * 4).await.is_empty());
}

#[tokio::test]
async fn a_slow_subscriber_resyncs_and_goes_on() {
    let Some(server) = server() else { return };
    let ((a, _at_a), (b, mut slow)) = (node(&server.url()).await, node(&server.url()).await);
    let mut fast = b.subscribe().await.unwrap();
    let count = RedisBus::BUFFER as u64 + 1;
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
async fn more_messages_than_the_node_can_take_in_are_a_resync() {
    let Some(server) = server() else { return };
    let (_b, mut at_b) = node(&server.url()).await;
    // This runtime has one thread, so nothing is read meanwhile. Afterwards it is all there at once.
    let client = redis::Client::open(server.url()).unwrap();
    let publish = std::thread::spawn(move || {
        let mut pipeline = redis::pipe();
        for _ in 0..20_000 {
            pipeline.cmd("PUBLISH").arg("session-kit:changes").arg(beat(0)).ignore();
        }
        pipeline.exec(&mut client.get_connection().unwrap()).unwrap();
    });
    publish.join().unwrap();
    assert!(until_resync(&mut at_b, RedisBus::SILENCE).await.is_empty(), "none of them named a number");
}

#[tokio::test]
async fn next_can_be_given_up_without_losing_anything() {
    let Some(server) = server() else { return };
    let ((a, _at_a), (_b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
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
    let ((), heard) = timeout(SOON, async { tokio::join!(publish, hear) }).await.unwrap();
    assert!(heard.into_iter().eq(1..=300));
    assert_ne!(given_up, 0);
}

#[tokio::test]
async fn whoever_joins_late_resyncs_because_it_does_not_know_what_was_said() {
    let Some(server) = server() else { return };
    let (a, _at_a) = node(&server.url()).await;
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    let (_b, mut at_b) = node(&server.url()).await;
    assert!(until_resync(&mut at_b, RedisBus::BEAT * 4).await.is_empty());
}

#[tokio::test]
async fn a_bus_is_degraded_while_nobody_listens() {
    let Some(server) = server() else { return };
    let mut stranger = Stranger::at(&server).await;
    let bus = publisher(&server.url()).await;
    assert_eq!(bus.health(), BusHealth::Degraded);
    bus.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(bus.health(), BusHealth::Degraded);
    let subscription = subscribed(&bus).await;
    until(SOON, "subscribed", async || stranger.subscribed().await == 1).await;
    drop(subscription);
    until(SOON, "unsubscribed", async || stranger.subscribed().await == 0).await;
    assert_eq!(bus.health(), BusHealth::Degraded);
    let _again = subscribed(&bus).await;
    until(SOON, "subscribed", async || stranger.subscribed().await == 1).await;
}

#[tokio::test]
async fn a_subscription_that_is_given_up_leaves_nothing() {
    let Some(server) = server() else { return };
    let (mut stranger, bus) = (Stranger::at(&server).await, bus(&server.url()));
    let mut subscribe = Box::pin(bus.subscribe());
    until(SOON, "subscribing", async || {
        assert!(subscribe.as_mut().now_or_never().is_none_or(|result| result.is_ok()));
        true
    })
    .await;
    drop(subscribe);
    until(SOON, "unsubscribed", async || stranger.subscribed().await == 0).await;
    assert_eq!(bus.health(), BusHealth::Degraded);
}

#[tokio::test]
async fn nothing_is_left_when_everything_is_dropped() {
    let Some(server) = server() else { return };
    let mut stranger = Stranger::at(&server).await;
    let (a, mut at_a) = node(&server.url()).await;
    until(SOON, "connected twice", async || stranger.others().await == 2).await;
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
    let Some(server) = server() else { return };
    let (_b, mut at_b) = node(&server.url()).await;
    let (leaves, publishes) = (publisher(&server.url()).await, publisher(&server.url()).await);
    for bus in [&leaves, &publishes] {
        bus.publish(SCOPE, &[change(1)]).await.unwrap();
        assert_eq!(changed(&mut at_b).await, [1]);
    }
    drop(leaves);
    assert_quiet(&mut at_b, RedisBus::SILENCE + RedisBus::BEAT * 2).await;
}

#[tokio::test]
async fn a_node_that_falls_silent_is_a_resync() {
    let Some(server) = server() else { return };
    let (mut stranger, (_b, mut at_b)) = (Stranger::at(&server).await, node(&server.url()).await);
    let said = Instant::now();
    stranger.say(&changes(1)).await;
    assert_eq!(changed(&mut at_b).await, [1]);
    assert!(until_resync(&mut at_b, RedisBus::SILENCE + RedisBus::BEAT * 3).await.is_empty());
    assert!(said.elapsed() >= RedisBus::SILENCE, "{:?}", said.elapsed());
}

#[tokio::test]
async fn a_connection_of_the_application_can_publish_but_not_subscribe() {
    let Some(server) = server() else { return };
    let given = Stranger::at(&server).await.0;
    let (a, (_b, mut at_b)) = (RedisBus::new(Connection::from(given)), node(&server.url()).await);
    let refused = a.subscribe().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [1]);
}
