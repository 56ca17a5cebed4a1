//! A network that swallows, delays, closes or refuses.

use std::time::{Duration, Instant};

use session_core::prelude::*;
use session_servers::Fault;

use super::calls::{
    CALLS, after_met, all_fail, assert_recovers, assert_transient, assert_works, call, given, in_time,
};
use super::lab::{Lab, stored};
use super::load::Load;
use super::{DEADLINE, PATIENT, cases};

cases!(
    a_network_that_swallows_everything_is_an_outage,
    a_connection_that_falls_silent_costs_one_call,
    a_slow_network_is_slow,
    connections_that_are_cut_lose_nothing_that_was_promised,
    a_network_that_refuses_is_an_outage,
);

/// How often a connection falls silent: more often than a pool has connections.
const ROUNDS: u32 = 12;

/// How long an answer is waited for that does not come.
const SHORT: Duration = Duration::from_millis(200);

async fn a_network_that_swallows_everything_is_an_outage() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    let stores = lab.quick_stores_through(&proxy).await;
    assert_recovers(&stores).await;
    let session = given(&lab.stores().await.store, "dora").await;
    proxy.freeze();
    // On the open connections, then on those that are opened meanwhile.
    for _ in 0..2 {
        all_fail(&stores, &session, DEADLINE).await;
    }
    proxy.pass_new();
    println!("recovered after {:?}", assert_recovers(&stores).await);
    assert!(stored(&lab.stores().await.store, session.id).await.is_some());
}

/// The answer never comes, or what is asked never arrives, and nothing that is asked afterwards.
async fn a_connection_that_falls_silent_costs_one_call() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    let stores = lab.stores_through(&proxy).await;
    let session = given(&stores.store, "dora").await;
    let load = || stores.store.load(std::slice::from_ref(&session.id));
    for arrives in [true, false] {
        for round in 0..ROUNDS {
            if arrives {
                proxy.arm(Fault::Hush, session.id.as_bytes());
            } else {
                proxy.edit_requests(session.id.as_bytes(), |_| Vec::new());
            }
            assert_transient("load", after_met(&proxy, SHORT, load()).await);
            assert_eq!(proxy.met(), 1, "{arrives} {round}");
            // Not on that connection, and none is missing.
            let found = in_time(PATIENT, "load", load()).await.unwrap();
            assert_eq!(found.len(), 1, "{arrives} {round}");
        }
    }
    assert_works(&stores).await;
}

async fn a_slow_network_is_slow() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    let stores = lab.stores_through(&proxy).await;
    assert_works(&stores).await;
    let slow = Duration::from_millis(300);
    let session = given(&stores.store, "dora").await;
    proxy.delay(slow);
    // Several round trips each: more than the deadline of one.
    for name in CALLS {
        let began = Instant::now();
        in_time(PATIENT, name, call(&stores, name, &session)).await.unwrap();
        assert!(began.elapsed() >= slow, "{name} was not slow");
    }
    proxy.delay(Duration::ZERO);
    assert_works(&stores).await;
}

async fn connections_that_are_cut_lose_nothing_that_was_promised() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    let stores = lab.stores_through(&proxy).await;
    let load = Load::start(&stores);
    load.wait_for_rounds(20).await;
    for _ in 0..8 {
        proxy.cut();
        load.wait_for_rounds(10).await;
    }
    println!("{} calls failed", load.failures());
    load.assert_kept().await;
    assert_works(&stores).await;
}

async fn a_network_that_refuses_is_an_outage() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    let stores = lab.quick_stores_through(&proxy).await;
    assert_recovers(&stores).await;
    let session = given(&lab.stores().await.store, "dora").await;
    proxy.refuse();
    for _ in 0..2 {
        let errors = all_fail(&stores, &session, PATIENT).await;
        let unavailable = errors.iter().filter(|error| error.kind() == ErrorKind::Unavailable).count();
        // A sign-in is tried again for as long as somebody waits.
        assert!(unavailable >= CALLS.len() - 2, "{errors:?}");
    }
    proxy.pass_new();
    println!("recovered after {:?}", assert_recovers(&stores).await);
    assert!(stored(&lab.stores().await.store, session.id).await.is_some());
}
