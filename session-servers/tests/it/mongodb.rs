//! The behaviour of MongoDB servers only.

use mongodb::Client;
use mongodb::bson::{Document, doc};
use session_servers::{Kind, Options, Server};
use tokio::runtime::Builder;

use crate::client::query;
use crate::on;

const SET_NAME: &str = r#"setName {"hello": 1}"#;
const FAIL_PING: &str = r#"ok {"configureFailPoint": "failCommand", "mode": {"times": 1},
    "data": {"failCommands": ["ping"], "errorCode": 91}, "$db": "admin"}"#;
const PING: &str = r#"ok {"ping": 1}"#;

#[test]
fn single_server_reports_a_replica_set() {
    on(Kind::Mongodb, &Options::default(), |server| {
        assert_eq!(query(&server, SET_NAME).unwrap(), "secantus");
        let member = format!("127.0.0.1:{}", server.port());
        assert_eq!(query(&server, r#"hosts.0 {"hello": 1}"#).unwrap(), member);
        assert_eq!(query(&server, r#"primary {"hello": 1}"#).unwrap(), member);
        assert_eq!(committed(&server), 1);
    });
}

#[test]
fn standalone_reports_no_replica_set() {
    on(Kind::MongodbStandalone, &Options::default(), |server| {
        assert_eq!(query(&server, SET_NAME).unwrap(), "");
        assert_eq!(query(&server, PING).unwrap(), "1");
    });
}

#[test]
fn server_with_fail_points_is_a_replica_set_and_fails_on_demand() {
    on(Kind::MongodbFailPoints, &Options::default(), |server| {
        assert_eq!(query(&server, SET_NAME).unwrap(), "secantus");
        assert_eq!(query(&server, FAIL_PING).unwrap(), "1");
        assert!(query(&server, PING).unwrap_err().contains("failCommand"));
        assert_eq!(query(&server, PING).unwrap(), "1");
        assert_eq!(committed(&server), 1);
    });
}

/// Commits one transaction and aborts another, and returns the number of documents.
fn committed(server: &Server) -> u64 {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let transactions = async {
        let client = Client::with_uri_str(server.url()).await?;
        let collection = client.default_database().unwrap().collection::<Document>("committed");
        let mut session = client.start_session().await?;
        session.start_transaction().await?;
        collection.insert_one(doc! { "_id": 1 }).session(&mut session).await?;
        session.commit_transaction().await?;
        session.start_transaction().await?;
        collection.insert_one(doc! { "_id": 2 }).session(&mut session).await?;
        session.abort_transaction().await?;
        collection.count_documents(doc! {}).await
    };
    runtime.block_on(transactions).unwrap()
}
