//! A server that is down, stops, crashes or is paused.

use std::sync::Arc;
use std::time::Duration;

use session_core::prelude::*;
use session_core::rules::RequestClient;
use session_manager::{NewSession, SessionManager, ValidateError};
use session_servers::{Kind, Options, Server};

use super::calls::{all_fail, assert_recovers, assert_works, given};
use super::lab::{Lab, Stores, stored, wait_until};
use super::load::Load;
use super::{DEADLINE, LATE, PATIENT, cases};

cases!(
    store_finds_a_server_that_starts_later,
    crash_loses_no_confirmed_write,
    paused_server_is_an_outage,
    manager_meets_its_deadline_while_the_server_is_paused,
);

/// The manager's deadline for an operation.
const STORE_DEADLINE: Duration = Duration::from_millis(300);

async fn store_finds_a_server_that_starts_later() {
    let Some(mut lab) = Lab::start().await else { return };
    let before = lab.quick_stores().await;
    let session = given(&lab.stores().await.store, "dora").await;
    let is_connected = async || before.store.load(&[session.id]).await.is_ok();
    wait_until("the client is connected", is_connected).await;
    lab.server(Server::stop);
    let stores = lab.quick_stores().await;
    for unavailable in [&stores, &before] {
        for error in all_fail(unavailable, &session, PATIENT).await {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        }
    }
    assert_eq!(stores.store.limit_method().await.unwrap_err().kind(), ErrorKind::Unavailable);
    lab.server(Server::start_again);
    println!("found after {:?}", assert_recovers(&stores).await);
    assert_recovers(&before).await;
    assert!(stored(&lab.stores().await.store, session.id).await.is_some());
}

async fn crash_loses_no_confirmed_write() {
    let options = Options::default().with_durable(true);
    let Some(mut lab) = Lab::start_with(Kind::Mongodb, &options).await else { return };
    let stores = lab.stores().await;
    let load = Load::start(&stores);
    load.wait_for_rounds(40).await;
    for is_crash in [true, false, true] {
        lab.server(|server| if is_crash { server.kill() } else { server.stop() });
        load.wait_for_failures().await;
        lab.server(Server::start_again);
        let took = load.wait_for_rounds(40).await;
        println!("crash: {is_crash}, 40 sessions after {took:?}");
    }
    load.assert_nothing_lost().await;
    assert_works(&stores).await;
}

async fn paused_server_is_an_outage() {
    let Some(mut lab) = Lab::start().await else { return };
    let stores = lab.quick_stores().await;
    assert_recovers(&stores).await;
    let session = given(&lab.stores().await.store, "dora").await;
    lab.server(Server::pause);
    // The first round uses the open connections, the second one new connections.
    for _ in 0..2 {
        all_fail(&stores, &session, DEADLINE).await;
    }
    lab.server(Server::resume);
    println!("recovered after {:?}", assert_recovers(&stores).await);
    assert!(stored(&lab.stores().await.store, session.id).await.is_some());
}

async fn manager_meets_its_deadline_while_the_server_is_paused() {
    let Some(mut lab) = Lab::start().await else { return };
    let stores = lab.stores().await;
    assert_works(&stores).await;
    let manager = manager_of(&stores);
    let created = loop {
        match manager.create(NewSession::for_user("carl".parse().unwrap())).await {
            // The deadline is short for a busy machine.
            Err(error) if error.is_transient() => {}
            created => break created.unwrap(),
        }
    };
    let token = created.token.expose().to_owned();
    lab.server(Server::pause);
    for _ in 0..3 {
        let answer = bounded(manager.validate(&token, &RequestClient::default())).await;
        let Err(ValidateError::Unavailable(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    }
    let signed_out = bounded(manager.logout(&created.session)).await.unwrap_err();
    assert_eq!(signed_out.kind(), ErrorKind::Timeout);
    lab.server(Server::resume);
    // The sign-out was not confirmed, so the manager completes it now.
    let has_ended = async || {
        let answer = manager.validate(&token, &RequestClient::default()).await;
        matches!(answer, Err(ValidateError::Rejected(_)))
    };
    wait_until("the sign-out is complete", has_ended).await;
    assert_recovers(&stores).await;
    assert!(stored(&stores.store, created.session.id()).await.unwrap().ended().is_some());
    manager.shutdown().await;
}

/// Asserts that a manager's call exceeds its deadline by at most [`LATE`].
async fn bounded<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(STORE_DEADLINE + LATE, call).await.expect("too late")
}

fn manager_of(stores: &Stores) -> SessionManager {
    let builder = SessionManager::builder(Arc::new(stores.store.clone()));
    builder.with_store_deadline(STORE_DEADLINE).with_sweep_interval(None).build().unwrap()
}
