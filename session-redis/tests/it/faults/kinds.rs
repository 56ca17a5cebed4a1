//! Connections of other kinds: through a socket, or made by the application.

use redis::aio::ConnectionManagerConfig;
use session_conformance::fixtures::record;
use session_core::{ErrorKind, SessionStore};
use session_redis::Connection;
use session_servers::Server;

use super::DEADLINE;
use super::calls::{assert_fails, assert_recovers, assert_transient, assert_works, given, in_time};
use super::lab::Lab;
use crate::support::{connected, driver_config};

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_works() {
    let Some(mut lab) = Lab::start() else { return };
    let path = lab.server(|server| Ok(server.socket().unwrap()));
    let store = lab.store_at(&format!("redis+unix://{}", path.display()));
    connected(store.connection());
    assert!(!store.connection().check().await.unwrap().version.is_empty());
    assert_works(&store).await;
    let session = given(&store, "dora").await;
    lab.server(Server::kill);
    assert_transient("load", in_time(DEADLINE, "load", store.load(&[session.id])).await);
    lab.server(Server::start_again);
    assert_recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_connection_of_the_application_recovers_by_itself() {
    let Some(mut lab) = Lab::start() else { return };
    let client = redis::Client::open(lab.url()).unwrap();
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(DEADLINE))
        .set_connection_timeout(Some(DEADLINE));
    let manager = client.get_connection_manager_with_config(config).await.unwrap();
    let store = lab.store_on(Connection::from(manager));
    assert!(
        store.connection().check().await.unwrap().version.is_empty(),
        "a given connection is not checked"
    );
    assert_works(&store).await;
    let session = given(&store, "dora").await;
    lab.server(Server::kill);
    assert_transient("load", in_time(DEADLINE, "load", store.load(&[session.id])).await);
    lab.server(Server::start_again);
    println!("recovered after {:?}", assert_recovers(&store).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_the_application_works_and_is_not_replaced() {
    let Some(mut lab) = Lab::start() else { return };
    let client = redis::Client::open(lab.url()).unwrap();
    let connect = async || {
        let connection = client.get_multiplexed_async_connection_with_config(&driver_config()).await;
        Connection::from(connection.unwrap())
    };
    let store = lab.store_on(connect().await);
    assert_works(&store).await;
    lab.server(Server::kill);
    lab.server(Server::start_again);
    for _ in 0..3 {
        let call = in_time(DEADLINE, "load", store.load(&[record("ann").id])).await;
        assert_fails("load", ErrorKind::Unavailable, call);
    }
    assert_works(&lab.store_on(connect().await)).await;
}
