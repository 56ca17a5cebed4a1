use std::sync::Arc;
use std::time::Duration;

use session_core::{EndScope, ErrorKind, ListQuery, Result, SessionStore, Timestamp};
use tokio::time::{Instant, timeout};

use super::{Fault, Faults, FaultyStore, OPERATIONS};
use crate::fixtures::{NOW, logged_out, record, touch, user};
use crate::reference::MapStore;

fn faulty() -> (FaultyStore<MapStore>, Faults) {
    let store = FaultyStore::new(MapStore::default());
    let faults = store.faults();
    (store, faults)
}

async fn load(store: &impl SessionStore) -> Result<()> {
    store.load(&[]).await.map(drop)
}

async fn list(store: &impl SessionStore) -> Result<()> {
    store.list(&ListQuery::default()).await.map(drop)
}

/// Calls each operation once, in the order of [`OPERATIONS`].
async fn call_all(store: &impl SessionStore) -> [Result<()>; 10] {
    let record = Arc::new(record("ann"));
    [
        store.create(Arc::clone(&record), None).await.map(drop),
        load(store).await,
        store.update(Arc::clone(&record), record.revision).await.map(drop),
        store.touch(&[touch(record.id, 1)], NOW).await.map(drop),
        store.end(&EndScope::id(record.id), &logged_out(1), Timestamp::MAX).await.map(drop),
        list(store).await,
        store.expire(NOW, 1).await.map(drop),
        store.purge(NOW, 1).await.map(drop),
        store.erase(&user("ann"), 1).await.map(drop),
        store.stats(NOW).await.map(drop),
    ]
}

#[tokio::test]
async fn without_faults_calls_reach_the_wrapped_store() {
    let (store, faults) = faulty();
    assert!(call_all(&store).await.iter().all(Result::is_ok));
    assert_eq!((faults.all_calls(), faults.injected()), (10, 0));
    assert_eq!(store.capabilities(), store.inner().capabilities());
    assert_eq!(faults.all_calls(), 10, "capabilities is not a call");
}

#[tokio::test]
async fn every_operation_is_counted_and_fails_under_its_own_name() {
    for (index, operation) in OPERATIONS.iter().enumerate() {
        let (store, faults) = faulty();
        faults.arm(Fault::error(ErrorKind::Other).on(operation));
        let error = call_all(&store).await[index]
            .as_ref()
            .map_err(|error| (error.kind(), error.operation()))
            .unwrap_err();
        assert_eq!(error, (ErrorKind::Other, *operation));
        assert_eq!((faults.calls(operation), faults.injected()), (1, 1));
    }
}

#[tokio::test]
async fn an_error_replaces_the_call() {
    let (store, faults) = faulty();
    faults.arm(Fault::error(ErrorKind::Unavailable));
    let error = store.create(record("ann").into(), None).await.unwrap_err();
    assert_eq!(error.to_string(), "map create: unavailable (injected fault)");
    faults.disarm();
    assert_eq!(store.stats(NOW).await.unwrap().live, 0);
}

#[tokio::test]
async fn a_lost_reply_follows_the_call() {
    let (store, faults) = faulty();
    faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("create"));
    let error = store.create(record("ann").into(), None).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Timeout, "create"));
    assert_eq!(store.stats(NOW).await.unwrap().live, 1);
}

#[tokio::test]
async fn the_nth_call_is_counted_from_arming_and_per_operation() {
    let (store, faults) = faulty();
    load(&store).await.unwrap();
    faults.arm(Fault::error(ErrorKind::Other).on("load").at_call(2));
    load(&store).await.unwrap();
    list(&store).await.unwrap();
    assert_eq!(load(&store).await.unwrap_err().kind(), ErrorKind::Other);
    load(&store).await.unwrap();
    assert_eq!((faults.calls("load"), faults.calls("list"), faults.injected()), (4, 1, 1));
}

#[tokio::test]
async fn without_an_operation_all_calls_count() {
    let (store, faults) = faulty();
    faults.arm(Fault::error(ErrorKind::Other).at_call(3));
    load(&store).await.unwrap();
    list(&store).await.unwrap();
    load(&store).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn delays_use_the_tokio_clock_and_add_up() {
    let (store, faults) = faulty();
    faults.arm(Fault::delay(Duration::from_secs(3)));
    faults.arm(Fault::delay(Duration::from_secs(4)).on("load"));
    let start = Instant::now();
    load(&store).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    list(&store).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn only_dropping_ends_a_hanging_call() {
    let (store, faults) = faulty();
    faults.arm(Fault::hang().on("load"));
    let hour = Duration::from_secs(3_600);
    let call = load(&store);
    tokio::pin!(call);
    timeout(hour, &mut call).await.unwrap_err();
    faults.disarm();
    timeout(hour, &mut call).await.unwrap_err();
    load(&store).await.unwrap();
    assert_eq!(faults.calls("load"), 2);
}

#[tokio::test]
async fn a_test_can_wait_until_a_call_hangs() {
    let (store, faults) = faulty();
    faults.arm(Fault::hang().on("load"));
    faults.called("load", 0).await;
    let hanging = tokio::spawn(async move { load(&store).await });
    faults.called("load", 1).await;
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_seed_selects_the_same_calls_again() {
    let picked = async |probability, seed| {
        let (store, faults) = faulty();
        faults.arm(Fault::error(ErrorKind::Other).with_probability(probability, seed));
        let mut picked = Vec::new();
        for _ in 0..1_000 {
            picked.push(load(&store).await.is_err());
        }
        picked
    };
    let count = |picked: &[bool]| picked.iter().filter(|met| **met).count();
    let quarter = picked(0.25, 7).await;
    assert_eq!(quarter, picked(0.25, 7).await);
    assert_ne!(quarter, picked(0.25, 8).await);
    assert!((200..300).contains(&count(&quarter)), "{}", count(&quarter));
    assert_eq!(count(&picked(0.0, 7).await), 0);
    assert_eq!(count(&picked(1.0, 7).await), 1_000);
}

#[tokio::test]
async fn counters_reset_and_faults_stay() {
    let (store, faults) = faulty();
    faults.arm(Fault::error(ErrorKind::Other));
    load(&store).await.unwrap_err();
    faults.reset_calls();
    assert_eq!((faults.all_calls(), faults.injected()), (0, 0));
    load(&store).await.unwrap_err();
    assert_eq!(faults.calls("load"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_share_faults_across_threads() {
    let (store, faults) = faulty();
    let store = Arc::new(store);
    let calls = (0..64).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { load(&store).await.is_err() })
    });
    faults.clone().arm(Fault::error(ErrorKind::Other).at_call(10));
    let failed =
        futures_util::future::join_all(calls).await.into_iter().filter(|failed| *failed.as_ref().unwrap());
    assert_eq!(failed.count(), 1);
    assert_eq!(faults.calls("load"), 64);
}

#[test]
#[should_panic(expected = "`fetch` is no operation of a store")]
fn an_unknown_operation_panics() {
    let _ = Faults::default().calls("fetch");
}

#[tokio::test(start_paused = true)]
async fn a_late_call_reaches_the_store_after_its_caller_has_left() {
    let (store, faults) = faulty();
    faults.arm(Fault::late(Duration::from_secs(3), ErrorKind::Timeout).on("create").at_call(1));
    let record = Arc::new(record("ann"));
    let began = Instant::now();
    let lost = store.create(Arc::clone(&record), None).await;
    assert_eq!((lost.unwrap_err().kind(), began.elapsed()), (ErrorKind::Timeout, Duration::ZERO));
    assert!(store.inner().load(&[record.id]).await.unwrap().is_empty());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(store.inner().load(&[record.id]).await.unwrap().len(), 1);
}
