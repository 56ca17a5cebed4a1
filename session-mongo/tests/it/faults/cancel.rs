//! Calls whose futures are dropped, and sign-ins whose connections fail part-way.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mongodb::bson::doc;
use session_conformance::fixtures::{at, limit, record_at, user};
use session_core::prelude::*;
use session_mongo::{LimitMethod, MongoStore};
use session_servers::{Fault, Server};
use tokio::runtime::Runtime;

use super::calls::{CALLS, after_met, assert_recovers, assert_transient, assert_works, call, given, in_time};
use super::commit::Paths;
use super::lab::{Lab, stored, wait_for, wait_until};
use super::{DEADLINE, PATIENT, cases};

cases!(
    hundred_dropped_calls_hold_no_connection_and_no_lock,
    dropped_sign_in_happens_entirely_or_not_at_all,
    sign_in_whose_connection_dies_does_not_block_its_shard,
    sign_in_without_a_caller_is_not_retried,
    sign_in_without_a_reply_releases_its_shard,
    sign_in_that_always_fails_releases_its_shard,
    dead_process_blocks_its_shard_until_the_server_aborts,
);

/// The command by which a transaction writes to the turn of its shard. The first sign-in of a shard
/// creates the turn.
const TURN: &[u8] = b"findAndModify";

/// The limit of live sessions of a user.
const MAX: u32 = 2;

/// Bytes of the one command of a sign-in that neither the driver nor the store retries. Another
/// sign-in carries it out.
const NOT_REPEATED: &[u8] = b"signIn\0";

/// The time after which a dropped call has no more effects.
const SOON: Duration = Duration::from_secs(5);

const METHODS: [LimitMethod; 2] = [LimitMethod::CompareAndSet, LimitMethod::Transaction];

async fn sign_in(store: &MongoStore, session: &Arc<SessionRecord>) -> Result<()> {
    let limit = limit(MAX, OnExceed::EndOldest, 500);
    store.create(Arc::clone(session), Some(&limit)).await.map(drop)
}

async fn live(store: &MongoStore, name: &str) -> usize {
    let query = ListQuery::default().with_user(user(name)).with_state(StateFilter::Live(at(500)));
    store.list(&query).await.unwrap().records.len()
}

async fn hundred_dropped_calls_hold_no_connection_and_no_lock() {
    let Some(mut lab) = Lab::start().await else { return };
    let stores = lab.stores().await;
    assert_works(&stores).await;
    let session = given(&stores.store, "dora").await;
    for round in 0..3 {
        lab.server(Server::pause);
        for number in 0..100 {
            let name = CALLS[number % CALLS.len()];
            let call = call(&stores, name, &session);
            let dropped = tokio::time::timeout(Duration::from_millis(5), call).await;
            assert!(dropped.is_err(), "{name} was answered: {dropped:?}");
        }
        lab.server(Server::resume);
        // The next calls of each kind work: no connection is lost, and no shard is locked.
        println!("{round}: recovered after {:?}", assert_recovers(&stores).await);
        assert_works(&stores).await;
    }
}

/// Drops a future after this many polls, each of which follows a wake-up.
async fn abandon<F: Future>(future: F, polls: usize) {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Pending if left > 0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

async fn dropped_sign_in_happens_entirely_or_not_at_all() {
    let Some(lab) = Lab::start().await else { return };
    let (stores, other) = (lab.stores().await, lab.stores().await);
    assert_works(&stores).await;
    for method in METHODS {
        let name = format!("{method:?}");
        let (store, direct) = (stores.by(method), other.by(method));
        let mut dropped = 0;
        for round in 0..40 {
            let [old, new, next] = [0, 1, 2].map(|part| Arc::new(record_at(&name, 10 * round + part)));
            sign_in(direct, &old).await.unwrap();
            let before = live(direct, &name).await;
            let polls = usize::try_from(round % 8).unwrap();
            abandon(sign_in(store, &new), polls).await;
            // A sign-in of the same shard on another node succeeds.
            in_time(SOON, &name, sign_in(direct, &next)).await.unwrap();
            assert!(live(direct, &name).await <= MAX as usize, "{name} {round}: {before} before");
            // The dropped sign-in succeeds on this node, or had already happened.
            let is_settled = async || match sign_in(store, &new).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => true,
                answer => {
                    dropped += 1;
                    answer.unwrap();
                    true
                }
            };
            wait_for(SOON, "the sign-in has happened", is_settled).await;
            assert_eq!(live(direct, &name).await, MAX as usize, "{name} {round}");
        }
        println!("{name}: {dropped} dropped sign-ins had not happened");
        assert!(dropped > 0, "{name}: none was dropped early enough");
    }
}

/// Cuts the connection at each command of a sign-in. The command itself waits in the proxy.
async fn sign_in_whose_connection_dies_does_not_block_its_shard() {
    let Some(paths) = Paths::open().await else { return };
    let points: [(LimitMethod, &[u8]); 7] = [
        (LimitMethod::Transaction, TURN),
        (LimitMethod::Transaction, b"insert\0"),
        (LimitMethod::Transaction, b"limit_evicted"),
        (LimitMethod::Transaction, b"commitTransaction"),
        (LimitMethod::CompareAndSet, b"insert\0"),
        (LimitMethod::CompareAndSet, b"surplus\0"),
        (LimitMethod::CompareAndSet, NOT_REPEATED),
    ];
    for (number, (method, point)) in points.into_iter().enumerate() {
        let name = format!("user {number}");
        let direct = paths.direct.by(method);
        let [oldest, old, new] = [0, 1, 2].map(|millis| Arc::new(record_at(&name, millis)));
        for session in [&oldest, &old] {
            sign_in(direct, session).await.unwrap();
        }
        paths.proxy.arm(Fault::Hold, point);
        let call = {
            let (store, new) = (paths.stores.by(method).clone(), Arc::clone(&new));
            tokio::spawn(async move { sign_in(&store, &new).await })
        };
        paths.proxy.until_met().await;
        assert!(live(direct, &name).await <= MAX as usize, "{name}");
        paths.proxy.cut();
        wait_for_a_sign_in(direct, &name).await;
        // There may be fewer for a moment, while the announced sign-in is carried out.
        assert!(live(direct, &name).await <= MAX as usize, "{name}");
        let answer = call.await.unwrap();
        if point == NOT_REPEATED {
            assert_transient(&name, answer);
        } else {
            // The driver or the store has retried.
            answer.unwrap();
        }
        assert_eq!(live(direct, &name).await, MAX as usize, "{name}");
        assert!(paths.stored(new.id).await.is_some());
        paths.proxy.disarm();
    }
    assert_works(&paths.stores).await;
}

async fn sign_in_without_a_caller_is_not_retried() {
    let Some(paths) = Paths::open().await else { return };
    let session = Arc::new(record_at("ann", 1));
    sign_in(&paths.direct.store, &Arc::new(record_at("ann", 0))).await.unwrap();
    paths.proxy.arm_each(Fault::Before, TURN);
    let dropped = after_met(&paths.proxy, DEADLINE / 2, sign_in(&paths.stores.store, &session)).await;
    assert_transient("create", dropped);
    // At most the attempt in progress may still be sent.
    let met = paths.proxy.met();
    let next = Arc::new(record_at("ann", 2));
    in_time(PATIENT, "create", sign_in(&paths.direct.store, &next)).await.unwrap();
    tokio::time::sleep(DEADLINE).await;
    assert!(paths.proxy.met() <= met + 1, "{} more attempts", paths.proxy.met() - met);
    paths.proxy.disarm();
    assert!(paths.stored(session.id).await.is_none(), "a sign-in without a caller has happened");
    assert_works(&paths.stores).await;
}

/// The server holds the lock of the turn, and no client knows it. Other sign-ins wait at most as
/// long as the store itself does.
async fn sign_in_without_a_reply_releases_its_shard() {
    let Some(paths) = Paths::open().await else { return };
    sign_in(&paths.direct.store, &Arc::new(record_at("ann", 0))).await.unwrap();
    paths.proxy.arm(Fault::Hush, TURN);
    let session = Arc::new(record_at("ann", 1));
    let dropped = after_met(&paths.proxy, DEADLINE, sign_in(&paths.stores.store, &session)).await;
    assert_transient("create", dropped);
    assert_eq!(paths.proxy.met(), 1);
    assert_shard_is_released(&paths).await;
}

async fn sign_in_that_always_fails_releases_its_shard() {
    let Some(paths) = Paths::open().await else { return };
    sign_in(&paths.direct.store, &Arc::new(record_at("ann", 0))).await.unwrap();
    paths.proxy.arm_each(Fault::After, TURN);
    let session = Arc::new(record_at("ann", 1));
    let patience = Duration::from_secs(12);
    assert_transient("create", in_time(patience, "create", sign_in(&paths.stores.store, &session)).await);
    assert_shard_is_released(&paths).await;
}

/// Shutting down the runtime simulates the death of the process. The test shortens the server's
/// transaction lifetime from its default of a minute.
async fn dead_process_blocks_its_shard_until_the_server_aborts() {
    let Some(lab) = Lab::start().await else { return };
    let (proxy, direct) = (lab.proxy().await, lab.stores().await);
    let [old, new] = [0, 1].map(|millis| Arc::new(record_at("ann", millis)));
    sign_in(&direct.store, &old).await.unwrap();
    let patience = doc! { "setParameter": 1, "transactionLifetimeLimitSeconds": 2 };
    direct.client.database("admin").run_command(patience).await.unwrap();
    let process = Runtime::new().unwrap();
    let (client, url) = (Arc::clone(&new), proxy.url(&lab.url()));
    proxy.arm(Fault::Hold, b"insert\0");
    process.spawn(async move {
        let stores = Lab::stores_at(&url).await;
        sign_in(&stores.store, &client).await
    });
    proxy.until_met().await;
    process.shutdown_background();
    proxy.cut();
    wait_for_a_sign_in(&direct.store, "ann").await;
    assert!(stored(&direct.store, new.id).await.is_none());
    assert_eq!(live(&direct.store, "ann").await, 2);
}

/// Waits until a sign-in succeeds. Each attempt uses another session, because an attempt whose
/// caller dropped it may have happened.
async fn wait_for_a_sign_in(store: &MongoStore, name: &str) {
    let is_free = async || {
        let next = Arc::new(record_at(name, 3));
        match in_time(2 * DEADLINE, "create", sign_in(store, &next)).await {
            Ok(()) => true,
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                false
            }
        }
    };
    println!("{name}: free after {:?}", wait_until("the shard is free", is_free).await);
}

async fn assert_shard_is_released(paths: &Paths) {
    wait_for_a_sign_in(&paths.direct.store, "ann").await;
    paths.proxy.disarm();
    wait_until("the store works", async || {
        sign_in(&paths.stores.store, &Arc::new(record_at("ann", 4))).await.is_ok()
    })
    .await;
}
