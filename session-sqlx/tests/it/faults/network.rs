//! A network that drops all packets and closes no connection.

use std::sync::Arc;

use session_conformance::fixtures::record;
use session_core::SessionStore;
use session_servers::Fault;

use super::calls::{assert_all_fail, assert_recovers, assert_works, given, within};
use super::lab::{Lab, pool_of};
use super::target::Target;
use super::{LONG_DEADLINE, on_each_server};

on_each_server!(
    a_network_that_drops_all_packets_is_an_outage,
    a_connection_that_dies_on_return_frees_its_pool_slot,
);

async fn a_network_that_drops_all_packets_is_an_outage<D: Target>() {
    let Some(mut lab) = Lab::<D>::start().await else { return };
    let proxy = lab.proxy().await;
    let store = lab.store_at(&proxy.url(&lab.url), pool_of(3));
    assert_works(&store).await;
    let session = given(&store, "dora").await;
    proxy.freeze();
    assert_all_fail(&store, &session).await;
    // Again, on connections that were opened in the meantime.
    assert_all_fail(&store, &session).await;
    proxy.pass_new();
    assert_recovers(&store).await;
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
}

/// The pool pings a connection that is returned, without a limit.
async fn a_connection_that_dies_on_return_frees_its_pool_slot<D: Target>() {
    let Some(mut lab) = Lab::<D>::start().await else { return };
    let proxy = lab.proxy().await;
    let store = lab.store_at(&proxy.url(&lab.url), pool_of(1));
    assert_works(&store).await;
    let session = Arc::new(record("ann"));
    proxy.arm(Fault::IgnoreRequests, session.id.as_bytes());
    within(LONG_DEADLINE, "create", store.create(Arc::clone(&session), None)).await.unwrap();
    assert_eq!(proxy.met(), 1, "the bytes were never sent");
    assert_recovers(&store).await;
}
