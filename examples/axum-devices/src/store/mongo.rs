//! MongoDB.

use std::error::Error as StdError;
use std::future;

use session_mongo::mongodb::bson::doc;
use session_mongo::mongodb::error::{Error as DriverError, ErrorKind};
use session_mongo::mongodb::event::EventHandler;
use session_mongo::mongodb::event::sdam::{SdamEvent, TopologyDescription};
use session_mongo::mongodb::options::{ClientOptions, ConnectionString, HostInfo, ServerAddress};
use session_mongo::mongodb::{Client, Database, ServerInfo};
use session_mongo::{IndexError, MongoStore};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::{Failure, Opened, PATIENCE};

const URL: &str =
    "mongodb://ann:password@localhost:27017/shop or mongodb+srv://ann:password@cluster.example.net/shop";
const SERVER: &str = "Start one, or an ephemeral one with `cargo xtask serve mongodb`, or correct the URL: after a `?`, `tls=true` is for \
                      a server that requires TLS, and `tlsCAFile=ca.pem` for one with a certificate of your own. Without a URL, the \
                      sessions are in a file";
pub(super) const MEMBER: &str = "If the servers of the replica set cannot be reached by their configured names, name one of \
                                 them and add `directConnection=true` after a `?`";
const INDEXES: &str = "If the collection belongs to another program, choose one for the shop: SESSION_COLLECTION=shop_sessions. \
                       Otherwise drop these indexes, and the shop creates them again";
const RECORDS: &str = "Correct the host in the URL. mongodb+srv:// is for a name that has SRV records, mongodb:// for any other";
const PERMISSION: &str =
    "Name a user with the role `readWrite` on the database: mongodb://ann:password@localhost/shop";
const CREDENTIALS: &str = "Correct the user and the password in the URL. If the user was created in another database, name that \
                           database after a `?`: `authSource=admin`";

/// Opens the store and creates missing indexes.
pub(super) async fn open(url: &str, collection: &str) -> Result<Opened, Failure> {
    let read = read(url)?;
    let database = read.default_database.clone().ok_or(Failure::NoDatabase)?;
    let place =
        format!("MongoDB at {}, database {database}, collection {collection}", hosts(&read.host_info));
    let connected = timeout(PATIENCE, connect(read, &database));
    let database = match connected.await {
        Ok(connected) => connected.map_err(|refused| refused.into_failure(place.clone()))?,
        Err(_) => return Err(Failure::NoPrimary { place }),
    };
    let store = MongoStore::builder(database).collection(collection).build().map_err(Failure::Collection)?;
    match store.ensure_indexes().await {
        Ok(()) => Ok(Opened::at(place, store)),
        Err(error @ IndexError::Different(_)) => Err(Failure::database(place, &error, INDEXES)),
        Err(error) => Err(Failure::database(place, &error, SERVER)),
    }
}

/// Parses a URL. Replaces the driver's error, which quotes the URL and so possibly the password.
fn read(url: &str) -> Result<ConnectionString, Failure> {
    let before_options = url.split_once('?').map_or(url, |(before, _)| before);
    ConnectionString::parse(url).map_err(|_| {
        let cause = match ConnectionString::parse(before_options) {
            Ok(_) => "the driver does not accept the options after the `?`",
            Err(_) => {
                "the port is a number, and special characters in the user, the password and the database are \
                 percent-encoded (`/` is `%2F`)"
            }
        };
        Failure::Url { cause: cause.to_owned(), like: URL }
    })
}

fn hosts(hosts: &HostInfo) -> String {
    match hosts {
        HostInfo::HostIdentifiers(addresses) => {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
        HostInfo::DnsRecord(name) => name.clone(),
        other => format!("{other:?}"),
    }
}

/// The reason why there is no connection.
struct Refused {
    error: DriverError,
    /// The server that the error is about, if the URL does not name it.
    elsewhere: Option<ServerAddress>,
}

impl From<DriverError> for Refused {
    fn from(error: DriverError) -> Self {
        Self { error, elsewhere: None }
    }
}

impl Refused {
    fn into_failure(self, place: String) -> Failure {
        match self.elsewhere {
            None => Failure::database(place, &self.error, SERVER),
            Some(address) => {
                Failure::database(format!("{place}, as its member {address}"), &self.error, MEMBER)
            }
        }
    }
}

/// Connects to the primary.
async fn connect(url: ConnectionString, database: &str) -> Result<Database, Refused> {
    let mut options = ClientOptions::parse(url).await?;
    let (sender, events) = unbounded_channel();
    options.sdam_event_handler = Some(EventHandler::callback(move |event| {
        // The receiver is dropped once there is a connection.
        let _ = sender.send(event);
    }));
    let named = options.hosts.clone();
    let database = Client::with_options(options)?.database(database);
    // The driver keeps waiting for unreachable servers, and its error does not name the cause
    // plainly.
    tokio::select! {
        answer = database.run_command(doc! { "ping": 1 }) => answer.map(drop)?,
        (address, error) = all_fail(events) => {
            let elsewhere = (!named.contains(&address)).then_some(address);
            return Err(Refused { error, elsewhere });
        }
    }
    Ok(database)
}

/// Waits until every server that the driver knows has failed, and returns the error of one of them.
async fn all_fail(mut events: UnboundedReceiver<SdamEvent>) -> (ServerAddress, DriverError) {
    while let Some(event) = events.recv().await {
        if let SdamEvent::TopologyDescriptionChanged(event) = event
            && let Some(failure) = failure_of_all(&event.new_description)
        {
            return failure;
        }
    }
    future::pending().await
}

fn failure_of_all(topology: &TopologyDescription) -> Option<(ServerAddress, DriverError)> {
    let servers = topology.servers();
    let failed = |server: &ServerInfo<'_>| Some((server.address().clone(), server.error()?.clone()));
    servers.values().map(failed).collect::<Option<Vec<_>>>()?.pop()
}

pub(super) fn is_drivers(error: &(dyn StdError + 'static)) -> bool {
    error.is::<DriverError>()
}

/// Returns the driver's message without the parts for its developers.
pub(super) fn message(error: &(dyn StdError + 'static)) -> Option<String> {
    error.downcast_ref::<DriverError>().map(|error| match &*error.kind {
        // Its message describes every known server at length.
        ErrorKind::ServerSelection { .. } => "no primary can be reached".to_owned(),
        kind => kind.to_string().trim_end_matches('.').to_owned(),
    })
}

pub(super) fn advice(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    match &*error.downcast_ref::<DriverError>()?.kind {
        ErrorKind::Authentication { .. } => Some(CREDENTIALS),
        ErrorKind::Command(error) => match error.code {
            // AuthenticationFailed
            18 => Some(CREDENTIALS),
            // Unauthorized, also for a client that did not authenticate
            13 => Some(PERMISSION),
            _ => None,
        },
        ErrorKind::DnsResolve { .. } => Some(RECORDS),
        ErrorKind::InvalidTlsConfig { .. } => Some("Correct the options of TLS in the URL"),
        ErrorKind::ServerSelection { .. } => Some(MEMBER),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use session_mongo::mongodb::bson::Document;
    use session_servers::{Kind, Options, Proxy, Server};

    use super::super::testing::{closed_port, failure, named};
    use super::super::{Choice, open};
    use super::*;

    /// Starts an ephemeral server, unless none is available and none is required.
    fn server(kind: Kind, settings: &[&str]) -> Option<Server> {
        let settings = Options::default().with_settings(settings.iter().copied());
        Server::for_test(kind, &settings).unwrap()
    }

    async fn database(server: &Server) -> Database {
        Client::with_uri_str(server.url()).await.unwrap().database("shop")
    }

    #[tokio::test]
    async fn unreachable_mongodb_is_reported_without_the_password() {
        let port = closed_port();
        let message = failure(&format!("mongodb://ann:secret@127.0.0.1:{port}/shop")).await;
        assert!(
            message.contains(&format!("MongoDB at 127.0.0.1:{port}, database shop, collection sessions: ")),
            "{message}"
        );
        assert!(message.contains("refused") && message.contains("`cargo xtask serve mongodb`"), "{message}");
        assert!(!message.contains("secret"), "{message}");

        let (first, second) = (format!("127.0.0.1:{port}"), format!("localhost:{port}"));
        let message = failure(&format!("mongodb://ann:secret@{first},{second}/shop?replicaSet=rs0")).await;
        assert!(
            message.contains(&format!("MongoDB at {first},{second}, ")) && message.contains("refused"),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn mongodb_is_named_with_its_collection_but_no_password() {
        for kind in [Kind::Mongodb, Kind::MongodbStandalone] {
            let Some(server) = server(kind, &[]) else { continue };
            let url = format!("mongodb://127.0.0.1:{}/shop", server.port());
            let opened = open(&named(&url)).await.unwrap();
            let place = format!("MongoDB at 127.0.0.1:{}, database shop, collection ", server.port());
            assert_eq!((opened.place, opened.steps), (format!("{place}sessions"), vec![]));

            let chosen = Choice { collection: "visits".to_owned(), ..named(&format!("{url}?w=majority")) };
            assert_eq!(open(&chosen).await.unwrap().place, format!("{place}visits"));
            let mut names = database(&server).await.list_collection_names().await.unwrap();
            names.sort_unstable();
            assert_eq!(names, ["sessions", "visits"]);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn user_refused_by_mongodb_gets_advice() {
        let Some(server) = server(Kind::Mongodb, &["--auth"]) else { return };
        let message = failure(&format!("mongodb://ann:secret@127.0.0.1:{}/shop", server.port())).await;
        assert!(
            message.contains("Correct the user and the password") && message.contains("authSource"),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
        let message = failure(&format!("mongodb://127.0.0.1:{}/shop", server.port())).await;
        assert!(message.contains("Name a user"), "{message}");
    }

    /// MongoDB closes the connection if only one side uses TLS.
    #[tokio::test]
    async fn closed_mongodb_connection_gets_advice_about_tls() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || listener.incoming().for_each(drop));
        for options in ["", "?tls=true"] {
            let message = failure(&format!("mongodb://ann:secret@127.0.0.1:{port}/shop{options}")).await;
            assert!(
                message.contains("cannot keep the sessions") && message.contains("`tls=true`"),
                "{message}"
            );
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn unreachable_replica_set_member_is_named() {
        let Some(server) = server(Kind::Mongodb, &[]) else { return };
        let proxy = Proxy::to(server.port()).await.unwrap();
        // A port without a listener.
        let (own, other) = (format!("127.0.0.1:{}", server.port()), "127.0.0.1:00001");
        proxy.edit_replies(b"", move |bytes| replaced(bytes, own.as_bytes(), other.as_bytes()));
        let message = failure(&format!("mongodb://ann:secret@127.0.0.1:{}/shop", proxy.port())).await;
        assert!(message.contains("as its member 127.0.0.1:1: ") && message.contains("refused"), "{message}");
        assert!(message.contains("`directConnection=true`") && !message.contains("secret"), "{message}");
    }

    fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
        assert_eq!(old.len(), new.len(), "a message contains its length");
        let mut bytes = bytes.to_vec();
        while let Some(at) = bytes.windows(old.len()).position(|found| found == old) {
            bytes[at..at + new.len()].copy_from_slice(new);
        }
        bytes
    }

    #[tokio::test(start_paused = true)]
    async fn silent_mongodb_is_reported() {
        // The operating system accepts connections on behalf of the listener.
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let message =
            failure(&format!("mongodb://ann:secret@127.0.0.1:{port}/shop?connectTimeoutMS=60000")).await;
        assert!(
            message.contains("no primary answered in 10 s") && message.contains("directConnection"),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn collection_with_other_indexes_is_not_changed() {
        let Some(server) = server(Kind::Mongodb, &[]) else { return };
        let url = format!("mongodb://127.0.0.1:{}/shop", server.port());
        let other = doc! {
            "createIndexes": "sessions",
            "indexes": [{ "name": "session_user", "key": { "user": 1 } }],
        };
        database(&server).await.run_command(other).await.unwrap();
        let message = failure(&url).await;
        assert!(message.contains("session_user is on other fields"), "{message}");
        assert!(message.contains("SESSION_COLLECTION="), "{message}");
        open(&Choice { collection: "shop_sessions".to_owned(), ..named(&url) }).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn invalid_collection_name_is_refused_with_advice() {
        let Some(server) = server(Kind::Mongodb, &[]) else { return };
        let url = format!("mongodb://127.0.0.1:{}/shop", server.port());
        let chosen = Choice { collection: "a$b".to_owned(), ..named(&url) };
        let message = open(&chosen).await.err().unwrap().to_string();
        assert!(
            message.contains("the name of the collection") && message.contains("--collection"),
            "{message}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn user_without_permission_gets_advice() {
        let Some(server) = server(Kind::MongodbFailPoints, &[]) else { return };
        let refuse = doc! {
            "configureFailPoint": "failCommand",
            "mode": "alwaysOn",
            "data": { "failCommands": ["listIndexes"], "errorCode": 13 },
        };
        let client = Client::with_uri_str(server.url()).await.unwrap();
        let _: Document = client.database("admin").run_command(refuse).await.unwrap();
        let message = failure(&format!("mongodb://127.0.0.1:{}/shop", server.port())).await;
        assert!(message.contains("the role `readWrite`") && message.contains("database shop"), "{message}");
    }
}
