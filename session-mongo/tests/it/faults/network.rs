//! A network that drops or delays packets, and closes or refuses connections.

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
    network_that_drops_everything_is_an_outage,
    silent_connection_costs_one_call,
    slow_network_only_delays_calls,
    cut_connections_lose_no_confirmed_write,
    network_that_refuses_connections_is_an_outage,
);

/// The number of connections that become silent: more than a pool has.
const ROUNDS: u32 = 12;

/// How long a call waits for a reply that never arrives.
const SHORT: Duration = Duration::from_millis(200);

async fn network_that_drops_everything_is_an_outage() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    let stores = lab.quick_stores_through(&proxy).await;
    assert_recovers(&stores).await;
    let session = given(&lab.stores().await.store, "dora").await;
    proxy.freeze();
    // The first round uses the open connections, the second one new connections.
    for _ in 0..2 {
        all_fail(&stores, &session, DEADLINE).await;
    }
    proxy.pass_new();
    println!("recovered after {:?}", assert_recovers(&stores).await);
    assert!(stored(&lab.stores().await.store, session.id).await.is_some());
}

/// Either no reply arrives at the client, or no request arrives at the server; neither do later
/// ones on that connection.
async fn silent_connection_costs_one_call() {
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
            // The next call uses another connection, and the pool is not exhausted.
            let found = in_time(PATIENT, "load", load()).await.unwrap();
            assert_eq!(found.len(), 1, "{arrives} {round}");
        }
    }
    assert_works(&stores).await;
}

async fn slow_network_only_delays_calls() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    let stores = lab.stores_through(&proxy).await;
    assert_works(&stores).await;
    let slow = Duration::from_millis(300);
    let session = given(&stores.store, "dora").await;
    proxy.delay(slow);
    // Each call takes several round trips, which together may exceed the deadline of one call.
    for name in CALLS {
        let began = Instant::now();
        in_time(PATIENT, name, call(&stores, name, &session)).await.unwrap();
        assert!(began.elapsed() >= slow, "{name} was not slow");
    }
    proxy.delay(Duration::ZERO);
    assert_works(&stores).await;
}

async fn cut_connections_lose_no_confirmed_write() {
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
    load.assert_nothing_lost().await;
    assert_works(&stores).await;
}

async fn network_that_refuses_connections_is_an_outage() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    let stores = lab.quick_stores_through(&proxy).await;
    assert_recovers(&stores).await;
    let session = given(&lab.stores().await.store, "dora").await;
    proxy.refuse();
    for _ in 0..2 {
        let errors = all_fail(&stores, &session, PATIENT).await;
        let unavailable = errors.iter().filter(|error| error.kind() == ErrorKind::Unavailable).count();
        // A sign-in is retried for as long as its caller waits.
        assert!(unavailable >= CALLS.len() - 2, "{errors:?}");
    }
    proxy.pass_new();
    println!("recovered after {:?}", assert_recovers(&stores).await);
    assert!(stored(&lab.stores().await.store, session.id).await.is_some());
}
