//! A user with very many sessions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use session_conformance::fixtures::{at, limit, logged_out, record_at, user};
use session_core::prelude::*;
use session_core::{DeviceId, SystemRandom};

use super::audit::assert_consistent;
use super::lab::{Lab, Raw};

const MANY: u64 = 20_000;

/// Longest time for which a script may block the server. Scripts that read all sessions of the user
/// take half of it.
const LONG: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn scripts_for_a_user_with_many_sessions_are_short() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.patient_store();
    let device = DeviceId::mint(&SystemRandom).unwrap();
    let creates = stream::iter(0..MANY).map(|number| {
        let mut session = record_at("ann", number);
        session.device_id = number.is_multiple_of(1_000).then_some(device);
        let store = Arc::clone(&store);
        async move { store.create(Arc::new(session), None).await.unwrap() }
    });
    creates.buffer_unordered(256).collect::<Vec<_>>().await;
    let mut raw = lab.raw().await;

    let live = ListQuery::default().with_user(user("ann")).with_state(StateFilter::Live(at(1)));
    let before = raw.worked().await;
    let page = store.list(&live.clone().with_limit(500)).await.unwrap();
    assert_short(&mut raw, before, "list", 2).await;
    assert_eq!(page.records.len(), 500);
    assert_eq!(page.records[0].created_at, at(MANY - 1));
    let page = store.list(&live.clone().with_limit(500).with_after(page.next)).await.unwrap();
    assert_eq!(page.records[0].created_at, at(MANY - 501));
    assert_eq!(store.stats(at(MANY)).await.unwrap().live, MANY);

    let most = limit(u32::try_from(MANY).unwrap() + 1, OnExceed::Refuse, MANY);
    let before = raw.worked().await;
    store.create(Arc::new(record_at("ann", MANY)), Some(&most)).await.unwrap();
    assert_short(&mut raw, before, "create under a limit", 1).await;
    let scope = EndScope::Device { user: user("ann"), device };
    let before = raw.worked().await;
    assert_eq!(store.end(&scope, &logged_out(MANY), Timestamp::MAX).await.unwrap().len(), 20);
    assert_short(&mut raw, before, "end of a device", 1).await;

    let (before, calls) = (raw.worked().await, raw.calls("evalsha").await);
    let ended = store.end(&EndScope::User(user("ann")), &logged_out(MANY), Timestamp::MAX).await.unwrap();
    assert_eq!(ended.len() as u64, MANY + 1 - 20);
    let batches = raw.calls("evalsha").await - calls;
    assert_eq!(batches, MANY / 500, "{batches} batches");
    assert_short(&mut raw, before, "end of a user", 40).await;
    assert!(store.list(&live).await.unwrap().records.is_empty());
}

/// Asserts that scripts took the server a short time each, on average.
async fn assert_short(raw: &mut Raw, before: Duration, what: &str, scripts: u32) {
    let each = (raw.worked().await - before) / scripts;
    println!("{what}: {each:?} each");
    assert!(each < LONG, "{what}: {each:?} each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_swept_in_full_batches() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.patient_store();
    let creates = stream::iter(0..1_700_u64).map(|number| {
        let mut session = record_at(&format!("user {}", number % 40), number % 50);
        session.expires_at = at(1_000);
        let store = Arc::clone(&store);
        async move { store.create(Arc::new(session), None).await.unwrap() }
    });
    creates.buffer_unordered(256).collect::<Vec<_>>().await;
    let (mut swept, mut purged) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        swept.push(store.expire(at(2_000), 500).await.unwrap().len());
    }
    assert_eq!(swept, [500, 500, 500, 200, 0]);
    let mut raw = lab.raw().await;
    assert_eq!(assert_consistent(&store, &lab.keys, std::slice::from_mut(&mut raw)).await, 1_700);
    for _ in 0..5 {
        purged.push(store.purge(at(2_000), 500).await.unwrap());
    }
    assert_eq!(purged, [500, 500, 500, 200, 0]);
    assert_eq!(assert_consistent(&store, &lab.keys, &mut [raw]).await, 0);
}
