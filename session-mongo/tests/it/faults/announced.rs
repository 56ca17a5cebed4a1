//! Sign-ins by compare-and-set that die part-way, resume late, or conflict with transactions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use session_conformance::fixtures::{at, limit, logged_out, record_at, user};
use session_core::prelude::*;
use session_mongo::{LimitMethod, MongoStore};
use session_servers::Fault;
use tokio::task::JoinSet;

use super::calls::{assert_transient, assert_works, in_time};
use super::commit::Paths;
use super::lab::{Lab, wait_until};
use super::{PATIENT, RECOVERY, cases};

cases!(
    next_sign_in_carries_out_an_abandoned_announcement,
    replaced_session_outlives_an_abandoned_announcement,
    sign_in_that_dies_before_announcing_has_no_effect,
    sign_in_that_resumes_late_changes_nothing,
    both_methods_side_by_side_never_exceed_the_limit,
);

/// The limit of live sessions of a user.
const MAX: u32 = 2;

/// Bytes of the command that announces a sign-in, and of the one that carries it out.
const ANNOUNCES: &[u8] = b"surplus\0";
const CARRIES_OUT: &[u8] = b"signIn\0";

const METHODS: [LimitMethod; 2] = [LimitMethod::CompareAndSet, LimitMethod::Transaction];

async fn sign_in(store: &MongoStore, session: &Arc<SessionRecord>) -> Result<Vec<SessionId>> {
    sign_in_under(store, session, &limit(MAX, OnExceed::EndOldest, 500)).await
}

async fn sign_in_under(
    store: &MongoStore,
    session: &Arc<SessionRecord>,
    limit: &SessionLimit,
) -> Result<Vec<SessionId>> {
    let evicted = store.create(Arc::clone(session), Some(limit)).await?;
    Ok(evicted.iter().map(|record| record.id).collect())
}

async fn live(store: &MongoStore, name: &str) -> Vec<SessionId> {
    let query = ListQuery::default().with_user(user(name)).with_state(StateFilter::Live(at(500)));
    let mut page = store.list(&query).await.unwrap().records;
    page.reverse();
    page.iter().map(|record| record.id).collect()
}

/// Stores as many sessions of a user as the limit allows. Also returns two more that are not
/// stored.
async fn given_full(store: &MongoStore, name: &str) -> [Arc<SessionRecord>; 4] {
    let records = [0, 1, 2, 3].map(|millis| Arc::new(record_at(name, millis)));
    for session in &records[..MAX as usize] {
        sign_in(store, session).await.unwrap();
    }
    records
}

/// The announcing sign-in dies after the announcement, before it sends the changes, or before it
/// receives their reply.
async fn next_sign_in_carries_out_an_abandoned_announcement() {
    let Some(paths) = Paths::open().await else { return };
    let deaths = [(Fault::After, ANNOUNCES), (Fault::Before, CARRIES_OUT), (Fault::After, CARRIES_OUT)];
    for (number, (fault, point)) in deaths.into_iter().enumerate() {
        for method in METHODS {
            let name = format!("{number} {method:?}");
            let next = paths.direct.by(method);
            let [oldest, old, new, last] = given_full(next, &name).await;
            paths.proxy.arm_each(fault, point);
            let died = in_time(PATIENT, "create", sign_in(&paths.stores.cas_store, &new)).await;
            assert_transient(&name, died);
            assert!(paths.proxy.met() > 0);
            paths.proxy.refuse();

            let is_done = fault == Fault::After && point == CARRIES_OUT;
            let expected = if is_done { [old.id, new.id] } else { [oldest.id, old.id] };
            assert_eq!(live(next, &name).await, expected, "{name}");
            let evicted = in_time(RECOVERY, "create", sign_in(next, &last)).await.unwrap();
            assert_eq!(evicted, [old.id], "{name}: the dead sign-in evicted the oldest");
            assert_eq!(live(next, &name).await, [new.id, last.id], "{name}");
            assert_eq!(sign_in(next, &new).await.unwrap_err().kind(), ErrorKind::AlreadyExists);

            paths.proxy.disarm();
            paths.proxy.pass_new();
            let is_open = async || paths.stores.store.load(&[old.id]).await.is_ok();
            wait_until("the proxy passes connections", is_open).await;
        }
    }
}

/// Another sign-in, whose own limit replaces nothing, carries out an announcement that leaves out
/// the replaced session.
async fn replaced_session_outlives_an_abandoned_announcement() {
    let Some(paths) = Paths::open().await else { return };
    for method in METHODS {
        let name = format!("{method:?}");
        let next = paths.direct.by(method);
        let [oldest, old, new, last] = given_full(next, &name).await;
        paths.proxy.arm_each(Fault::After, ANNOUNCES);
        let replacing = limit(1, OnExceed::EndOldest, 500).with_replaces(oldest.id);
        let died = sign_in_under(&paths.stores.cas_store, &new, &replacing);
        assert_transient(&name, in_time(PATIENT, "create", died).await);
        assert!(paths.proxy.met() > 0);
        assert_eq!(live(next, &name).await, [oldest.id, old.id], "{name}");
        let roomy = limit(3, OnExceed::EndOldest, 500);
        assert_eq!(sign_in_under(next, &last, &roomy).await.unwrap(), [], "{name}");
        assert_eq!(live(next, &name).await, [oldest.id, new.id, last.id], "{name}");
        paths.proxy.disarm();
    }
    assert_works(&paths.stores).await;
}

async fn sign_in_that_dies_before_announcing_has_no_effect() {
    let Some(paths) = Paths::open().await else { return };
    for method in METHODS {
        let name = format!("{method:?}");
        let next = paths.direct.by(method);
        let [oldest, old, new, last] = given_full(next, &name).await;
        paths.proxy.arm_each(Fault::Before, ANNOUNCES);
        let died = in_time(PATIENT, "create", sign_in(&paths.stores.cas_store, &new)).await;
        assert_transient(&name, died);
        assert!(paths.proxy.met() > 0);
        assert_eq!(live(next, &name).await, [oldest.id, old.id]);
        // The reservation is invisible.
        assert!(paths.stored(new.id).await.is_none());
        assert_eq!(next.end(&EndScope::id(new.id), &logged_out(4), Timestamp::MAX).await.unwrap(), []);
        assert_eq!(sign_in(next, &last).await.unwrap(), [oldest.id]);
        assert_eq!(live(next, &name).await, [old.id, last.id]);
        paths.proxy.disarm();
    }
    assert_works(&paths.stores).await;
}

/// Another sign-in has carried out the announcement, and the session has ended and been purged when
/// the announcing sign-in resumes.
async fn sign_in_that_resumes_late_changes_nothing() {
    let Some(paths) = Paths::open().await else { return };
    for method in METHODS {
        let name = format!("{method:?}");
        let next = paths.direct.by(method);
        let [oldest, old, new, last] = given_full(next, &name).await;
        paths.proxy.arm(Fault::Hold, CARRIES_OUT);
        let announcing = {
            let (store, new) = (paths.stores.cas_store.clone(), Arc::clone(&new));
            tokio::spawn(async move { sign_in(&store, &new).await })
        };
        paths.proxy.until_met().await;
        assert_eq!(sign_in(next, &last).await.unwrap(), [old.id], "{name}");
        assert_eq!(live(next, &name).await, [new.id, last.id], "{name}");
        assert_eq!(next.end(&EndScope::id(new.id), &logged_out(4), Timestamp::MAX).await.unwrap().len(), 1);
        next.purge(at(1_000), 500).await.unwrap();
        for purged in [&oldest, &old, &new] {
            assert!(paths.stored(purged.id).await.is_none(), "{name}");
        }

        paths.proxy.disarm();
        let answer = announcing.await.unwrap();
        assert!(answer.as_ref().err().is_none_or(Error::is_transient), "{name}: {answer:?}");
        for purged in [&oldest, &old, &new] {
            assert!(paths.stored(purged.id).await.is_none(), "{name}: a purged session exists again");
        }
        assert_eq!(live(next, &name).await, [last.id], "{name}");
    }
    assert_works(&paths.stores).await;
}

async fn both_methods_side_by_side_never_exceed_the_limit() {
    const USERS: u64 = 5;
    const SIGN_INS: u64 = 40;
    let Some(lab) = Lab::start().await else { return };
    // Each store has its own client, as on two nodes.
    let nodes = [lab.stores().await.store, lab.stores().await.cas_store];
    let watcher = lab.stores().await.store;
    let looks = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let watched = {
        let (looks, is_over) = (Arc::clone(&looks), Arc::clone(&is_over));
        tokio::spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                for number in 0..USERS {
                    let live = live(&watcher, &format!("user {number}")).await;
                    assert!(live.len() <= MAX as usize, "{} live sessions", live.len());
                }
                looks.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let (mut created, mut evicted, mut refused) = (BTreeSet::new(), Vec::new(), 0);
    // Repeats until the watcher has checked often enough.
    while created.is_empty() || (looks.load(Ordering::SeqCst) <= 20 && !watched.is_finished()) {
        let mut calls = JoinSet::new();
        for number in 0..USERS * SIGN_INS {
            let store = nodes[usize::from(number / USERS % 2 == 1)].clone();
            let session = Arc::new(record_at(&format!("user {}", number % USERS), number));
            calls.spawn(async move { sign_in(&store, &session).await.map(|evicted| (session.id, evicted)) });
        }
        for answer in calls.join_all().await {
            match answer {
                Ok((id, ended)) => {
                    created.insert(id);
                    evicted.extend(ended);
                }
                // The sign-in conflicted too often.
                Err(error) => {
                    assert!(error.is_transient(), "{error:?}");
                    refused += 1;
                }
            }
        }
    }
    is_over.store(true, Ordering::SeqCst);
    watched.await.unwrap();
    println!("{} sign-ins, {refused} refused, {} looks", created.len(), looks.load(Ordering::SeqCst));
    assert!(refused <= 10, "{refused} refused");

    // Each session is live, or exactly one sign-in has evicted it.
    let count = evicted.len();
    let mut all: BTreeSet<_> = evicted.into_iter().collect();
    assert_eq!(all.len(), count, "an eviction was reported twice");
    for number in 0..USERS {
        let live = live(&nodes[0], &format!("user {number}")).await;
        assert_eq!(live.len(), MAX as usize);
        all.extend(live);
    }
    assert!(created.is_subset(&all), "a session is neither live nor evicted");
    assert!(all.len() <= created.len() + refused);
}
