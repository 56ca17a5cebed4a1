//! Nodes on a server, and a client that reads and writes the tables directly.

use session_conformance::fixtures::SCOPE;
use std::time::Duration;

use session_core::{
    BusEvent, BusHealth, ErrorKind, Invalidation, InvalidationBus, Revision, SessionId, Subscription,
};
pub(super) use session_runtime::bus::{HEARTBEAT, SILENCE};
use session_servers::{Kind, Options, Server};
use session_sqlx::{PostgresBus, TableName};
use sqlx::{Connection, PgConnection, PgPool, Row};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{fresh_table, server_url, sql};

/// Longer than it takes from a gap to the resync.
pub(super) const RESYNC_DELAY: Duration = Duration::from_millis(1500);

/// A generous limit for something that takes a moment, because processors are shared.
pub(super) const SOON: Duration = Duration::from_secs(15);

/// The timeout of publications in tests that do not measure time.
const LONG_TIMEOUT: Duration = Duration::from_secs(30);

/// A table for one test, on the shared server or on a server of its own.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) url: String,
    pub(super) table: TableName,
    pub(super) server: Option<Server>,
}

impl Lab {
    pub(super) async fn shared() -> Option<Self> {
        Some(Self::at(server_url("postgres")?, None).await)
    }

    pub(super) async fn start() -> Option<Self> {
        let server = Server::for_test(Kind::Postgres, &Options::default()).unwrap()?;
        Some(Self::at(server.url(), Some(server)).await)
    }

    pub(super) async fn at(url: String, server: Option<Server>) -> Self {
        let lab = Self { url, table: fresh_table(), server };
        lab.bus().migrate().await.unwrap();
        lab
    }

    pub(super) fn bus(&self) -> PostgresBus {
        self.bus_at(&self.url)
    }

    pub(super) fn bus_at(&self, url: &str) -> PostgresBus {
        let bus = PostgresBus::new(PgPool::connect_lazy(url).unwrap());
        bus.with_table(self.table.clone()).with_timeout(LONG_TIMEOUT).unwrap()
    }

    /// Starts a node that listens.
    pub(super) async fn node(&self) -> (PostgresBus, Box<dyn Subscription>) {
        listening(self.bus()).await
    }

    pub(super) async fn client(&self) -> Client {
        Client { connection: PgConnection::connect(&self.url).await.unwrap(), table: self.table.to_string() }
    }
}

pub(super) async fn listening(bus: PostgresBus) -> (PostgresBus, Box<dyn Subscription>) {
    let subscription = subscribed(&bus).await;
    until_health(&bus, BusHealth::Healthy, SOON).await;
    (bus, subscription)
}

/// Subscribes, with as many attempts as it takes.
pub(super) async fn subscribed(bus: &PostgresBus) -> Box<dyn Subscription> {
    let mut subscription = None;
    until(SOON, "subscribed", async || {
        subscription = bus.subscribe().await.ok();
        subscription.is_some()
    })
    .await;
    subscription.unwrap()
}

/// Publishes three times, asserts that each attempt fails, and returns the kinds. On shared
/// processors some failures are late, but not all.
pub(super) async fn fails_in_time(bus: &PostgresBus) -> Vec<ErrorKind> {
    let (mut kinds, mut least) = (Vec::new(), Duration::MAX);
    for _ in 0..3 {
        let began = Instant::now();
        let error = bus.publish(SCOPE, &[change(1)]).await.unwrap_err();
        least = least.min(began.elapsed());
        assert!(error.is_transient(), "{error:?}");
        kinds.push(error.kind());
    }
    assert!(least < PostgresBus::TIMEOUT + RESYNC_DELAY, "{least:?}");
    kinds
}

/// A change with a revision that identifies it.
pub(super) fn change(revision: u64) -> Invalidation {
    let id = SessionId::derive("test", b"bus", None);
    Invalidation::new(id, Revision::new(revision).unwrap(), revision.is_multiple_of(2))
}

pub(super) async fn next(subscription: &mut Box<dyn Subscription>) -> BusEvent {
    timeout(SOON, subscription.next()).await.expect("an event")
}

/// Returns the revisions of the next event, which must not be a resync.
pub(super) async fn changed(subscription: &mut Box<dyn Subscription>) -> Vec<u64> {
    match next(subscription).await {
        BusEvent::Changed(SCOPE, changes) => changes.iter().map(|change| change.revision.get()).collect(),
        other => panic!("{other:?}"),
    }
}

/// Returns the revisions that arrive before the next resync.
pub(super) async fn until_resync(subscription: &mut Box<dyn Subscription>, limit: Duration) -> Vec<u64> {
    let mut revisions = Vec::new();
    let resync = async {
        while let BusEvent::Changed(_, changes) = subscription.next().await {
            revisions.extend(changes.iter().map(|change| change.revision.get()));
        }
    };
    timeout(limit, resync).await.expect("a resync");
    revisions
}

/// The same, while `client` writes `message` once a second, so that its silence does not cause
/// the resync.
pub(super) async fn until_gap(
    subscription: &mut Box<dyn Subscription>,
    client: &mut Client,
    message: &[u8],
) -> Vec<u64> {
    let (mut revisions, began) = (Vec::new(), Instant::now());
    while began.elapsed() < SOON {
        match timeout(HEARTBEAT, subscription.next()).await {
            Ok(BusEvent::Changed(_, changes)) => {
                revisions.extend(changes.iter().map(|change| change.revision.get()));
            }
            Ok(_) => return revisions,
            Err(_) => client.write(message).await,
        }
    }
    panic!("no resync after {revisions:?}");
}

/// Asserts that no event arrives, not even a delayed resync.
pub(super) async fn assert_quiet(subscription: &mut Box<dyn Subscription>, time: Duration) {
    let event = timeout(time, subscription.next()).await;
    assert!(event.is_err(), "{event:?}");
}

/// Polls until a condition holds. Health changes send no event.
pub(super) async fn until(limit: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < limit, "not {what} after {limit:?}");
        sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

pub(super) async fn until_health(bus: &PostgresBus, health: BusHealth, limit: Duration) -> Duration {
    until(limit, &format!("{health:?}"), async || bus.health() == health).await
}

/// A client that is not a bus.
pub(super) struct Client {
    connection: PgConnection,
    table: String,
}

impl Client {
    /// Runs statements, with `{t}` as the table. Returns the first number, if there is one.
    pub(super) async fn query(&mut self, text: &str) -> Option<i64> {
        let text = text.replace("{t}", &self.table);
        let rows = sqlx::raw_sql(sql(&text)).fetch_all(&mut self.connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{text}: {error}"));
        rows.first().and_then(|row| row.try_get(0).ok())
    }

    /// Writes a message as a bus would.
    pub(super) async fn write(&mut self, message: &[u8]) {
        let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
        let written = self
            .query(&format!(
                "WITH head AS (UPDATE {{t}}_head SET seq = seq + 1 RETURNING seq)
                    INSERT INTO {{t}} SELECT seq, extract(epoch FROM now()) * 1000, '\\x{hex}' FROM head RETURNING seq"
            ))
            .await;
        assert!(written.is_some(), "the log has no first message");
    }

    /// Returns how many connections listen for messages in this table.
    pub(super) async fn listening(&mut self) -> i64 {
        let listening = "SELECT COUNT(*) FROM pg_stat_activity WHERE query LIKE '%FROM \"{t}_head\" AS head%'
            AND pid <> pg_backend_pid()";
        self.query(listening).await.unwrap()
    }

    /// Closes all connections that listen, and returns their number.
    pub(super) async fn kill_listening(&mut self) -> i64 {
        let kill = "SELECT COUNT(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE query LIKE '%FROM \"{t}_head\" AS head%' AND pid <> pg_backend_pid() OFFSET 0) AS killed";
        self.query(kill).await.unwrap()
    }

    /// Returns how many publications and heartbeats wait for the lock.
    pub(super) async fn waiting(&mut self) -> i64 {
        let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{t}_head%'";
        self.query(waiting).await.unwrap()
    }

    /// Returns the number of connections to the server besides this one.
    pub(super) async fn other_connections(&mut self) -> i64 {
        let others = "SELECT COUNT(*) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        self.query(others).await.unwrap()
    }

    pub(super) async fn rows(&mut self) -> i64 {
        self.query("SELECT COUNT(*) FROM {t}").await.unwrap()
    }
}

/// The header of a message of a node that does not exist.
pub(super) fn header(kind: u8, number: u64) -> Vec<u8> {
    let mut message = b"SK\x01".to_vec();
    message.push(kind);
    message.extend(b"a node elsewhere");
    message.extend(number.to_be_bytes());
    message
}

/// A message with one change whose revision is the message's number.
pub(super) fn changes(number: u64) -> Vec<u8> {
    let mut message = header(b'C', number);
    message.extend(SCOPE.as_bytes());
    message.extend([0, 1]);
    message.extend(change(number).id.as_bytes());
    message.extend(number.to_be_bytes());
    message.push(0);
    message
}

pub(super) fn beat(number: u64) -> Vec<u8> {
    let mut message = header(b'B', number);
    message.extend([0; 8]);
    message
}
