//! A network that swallows everything and closes nothing.

use std::sync::Arc;

use session_conformance::fixtures::record;
use session_core::SessionStore;
use session_servers::Fault;

use super::calls::{assert_all_fail, assert_recovers, assert_works, given, in_time};
use super::lab::{Lab, pool_of};
use super::target::Target;
use super::{PATIENT, on_each_server};

on_each_server!(
    a_network_that_swallows_everything_is_an_outage,
    a_connection_that_dies_on_its_way_back_does_not_keep_its_place_in_the_pool,
);

async fn a_network_that_swallows_everything_is_an_outage<D: Target>() {
    let Some(mut lab) = Lab::<D>::start().await else { return };
    let proxy = lab.proxy().await;
    let store = lab.store_at(&proxy.url(&lab.url), pool_of(3));
    assert_works(&store).await;
    let session = given(&store, "dora").await;
    proxy.freeze();
    assert_all_fail(&store, &session).await;
    // On connections that were opened meanwhile.
    assert_all_fail(&store, &session).await;
    proxy.pass_new();
    assert_recovers(&store).await;
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
}

/// The pool asks a connection for a sign of life when it comes back, and for as long as it takes.
async fn a_connection_that_dies_on_its_way_back_does_not_keep_its_place_in_the_pool<D: Target>() {
    let Some(mut lab) = Lab::<D>::start().await else { return };
    let proxy = lab.proxy().await;
    let store = lab.store_at(&proxy.url(&lab.url), pool_of(1));
    assert_works(&store).await;
    let session = Arc::new(record("ann"));
    proxy.arm(Fault::Deaf, session.id.as_bytes());
    in_time(PATIENT, "create", store.create(Arc::clone(&session), None)).await.unwrap();
    assert_eq!(proxy.met(), 1, "the bytes were never sent");
    assert_recovers(&store).await;
}
