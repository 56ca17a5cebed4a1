//! A server that is stopped, killed and restarted.

use std::sync::Arc;
use std::time::Duration;

use session_core::rules::RequestClient;
use session_core::{ErrorKind, SessionStore};
use session_manager::{Created, NewSession, SessionManager, ValidateError};
use session_sqlx::SqlStore;

use super::calls::{assert_all_fail, assert_recovers, assert_works, given};
use super::lab::{Lab, pool_of};
use super::load::Load;
use super::target::Target;
use super::{LONG_DEADLINE, on_each_server};

on_each_server!(
    a_stopped_server_is_an_outage_and_nothing_else,
    a_crash_loses_no_acknowledged_write,
    a_server_that_starts_later_is_found,
);

/// Shorter than the tests' own deadline, because several validations run one after the other.
const STORE_DEADLINE: Duration = Duration::from_millis(300);

async fn a_stopped_server_is_an_outage_and_nothing_else<D: Target>() {
    let Some(mut lab) = Lab::<D>::start().await else { return };
    let store = Arc::new(lab.store(pool_of(3)));
    store.connect().await.unwrap();
    assert_works(&*store).await;
    let session = given(&store, "dora").await;
    let manager = manager_of(&store, STORE_DEADLINE);
    let created = sign_in(&store).await;
    let token = created.token.expose().to_owned();

    lab.server(session_servers::Server::pause);
    assert_all_fail(&store, &session).await;
    for _ in 0..3 {
        assert_unavailable(&manager, &token, ErrorKind::Timeout).await;
    }
    let signed_out = manager.logout(&created.session).await.unwrap_err();
    assert_eq!(signed_out.kind(), ErrorKind::Timeout);
    assert_all_fail(&store, &session).await;

    lab.server(session_servers::Server::resume);
    let took = assert_recovers(&*store).await;
    println!("recovered after {took:?}");
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
    // The sign-out was not confirmed, and is still carried out.
    let gone = async {
        while answer(&manager, &token).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG_DEADLINE, gone).await.unwrap();
    manager.shutdown().await;
}

fn manager_of<D: Target>(store: &Arc<SqlStore<D>>, deadline: Duration) -> SessionManager {
    let builder = SessionManager::builder(Arc::clone(store)).with_store_deadline(deadline);
    builder.with_sweep_interval(None).build().unwrap()
}

/// Signs a user in, on a node with a long deadline.
async fn sign_in<D: Target>(store: &Arc<SqlStore<D>>) -> Created {
    manager_of(store, LONG_DEADLINE).create(NewSession::for_user("carl".parse().unwrap())).await.unwrap()
}

/// Validates until the result is not `Unavailable`.
async fn answer(manager: &SessionManager, token: &str) -> Result<(), ValidateError> {
    let answered = async {
        loop {
            match manager.validate(token, &RequestClient::default()).await {
                Err(ValidateError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                answer => break answer.map(drop),
            }
        }
    };
    tokio::time::timeout(LONG_DEADLINE, answered).await.unwrap()
}

/// Asserts that the outage is reported as such and not as a missing session.
async fn assert_unavailable(manager: &SessionManager, token: &str, kind: ErrorKind) {
    let answer = manager.validate(token, &RequestClient::default()).await;
    let Err(ValidateError::Unavailable(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error.kind(), kind, "{error:?}");
}

async fn a_crash_loses_no_acknowledged_write<D: Target>() {
    let Some(mut lab) = Lab::<D>::start_with(true, &[]).await else { return };
    let store = Arc::new(lab.store(pool_of(4)));
    let load = Load::start(&store);
    load.wait_for_rounds(20).await;
    for is_crash in [false, true] {
        lab.server(|server| if is_crash { server.kill() } else { server.stop() });
        load.wait_for_failures().await;
        lab.server(session_servers::Server::start_again);
        let took = load.wait_for_rounds(20).await;
        println!("crash: {is_crash}, works again after {took:?}");
    }
    load.assert_nothing_lost().await;
    assert_works(&*store).await;
}

async fn a_server_that_starts_later_is_found<D: Target>() {
    let Some(mut lab) = Lab::<D>::start().await else { return };
    let before = Arc::new(lab.store(pool_of(1)));
    let session = given(&before, "dora").await;
    let token = sign_in(&before).await.token.expose().to_owned();
    lab.server(session_servers::Server::stop);
    let store = lab.store(pool_of(3));
    assert_all_fail(&store, &session).await;
    // The pool gives up before the manager does.
    let quick = Arc::new(lab.store(pool_of(3).acquire_timeout(STORE_DEADLINE)));
    let manager = manager_of(&quick, LONG_DEADLINE);
    assert_unavailable(&manager, &token, ErrorKind::Unavailable).await;
    lab.server(session_servers::Server::start_again);
    assert_recovers(&store).await;
    assert_recovers(&*quick).await;
    answer(&manager, &token).await.unwrap();
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
}
