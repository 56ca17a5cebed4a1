//! Connections of other kinds: through a socket, or made by the application.

use session_conformance::fixtures::record;
use session_core::{ErrorKind, SessionStore};
use session_redis::Connection;
use session_servers::Server;

use super::DEADLINE;
use super::calls::{assert_fails, assert_recovers, assert_transient, assert_works, given, in_time};
use super::lab::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_does_as_well() {
    let Some(mut lab) = Lab::start() else { return };
    let path = lab.server(|server| Ok(server.socket().unwrap()));
    let store = lab.store_at(&format!("redis+unix://{}", path.display()));
    assert!(!store.connection().check().await.unwrap().version.is_empty());
    assert_works(&store).await;
    let session = given(&store, "dora").await;
    lab.server(Server::kill);
    assert_transient("load", in_time(DEADLINE, "load", store.load(&[session.id])).await);
    lab.server(Server::start_again);
    assert_recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_connection_of_the_application_works_and_comes_back_by_itself() {
    let Some(mut lab) = Lab::start() else { return };
    let client = redis::Client::open(lab.url()).unwrap();
    let manager = client.get_connection_manager().await.unwrap();
    let store = lab.store_on(Connection::from(manager));
    assert!(store.connection().check().await.unwrap().version.is_empty(), "nobody asked it");
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
    let store = lab.store_on(Connection::from(client.get_multiplexed_async_connection().await.unwrap()));
    assert_works(&store).await;
    lab.server(Server::kill);
    lab.server(Server::start_again);
    for _ in 0..3 {
        let call = in_time(DEADLINE, "load", store.load(&[record("ann").id])).await;
        assert_fails("load", ErrorKind::Unavailable, call);
    }
    let another = client.get_multiplexed_async_connection().await.unwrap();
    assert_works(&lab.store_on(Connection::from(another))).await;
}
