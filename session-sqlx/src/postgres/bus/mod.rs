//! Notifies the other nodes of changes, through a table and `NOTIFY`.

mod log;
mod transport;

use std::fmt;
use std::time::Duration;

use session_core::{BusHealth, Invalidation, InvalidationBus, Result, Scope, Subscription, async_trait};
use session_runtime::bus::Bus;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres};

use super::{NAME, check_range};
use crate::error::StepError;
use crate::migrate::MigrateError;
use crate::table::TableName;
use log::SCHEMA;
use transport::{Log, PgTransport};

/// An [`InvalidationBus`] in PostgreSQL 12 or later. The other nodes learn of a change a moment
/// later, and also after a lost connection.
///
/// # How it works
/// Messages are rows of a small `UNLOGGED` table, numbered without holes in the order in which they
/// are committed. `NOTIFY` carries no data; it wakes the other nodes, which read the new messages.
/// They also read once a second and after each reconnection. So all messages arrive in the same
/// way, and a message that is sent while a node's connection is lost is late, not lost.
///
/// The alternatives were worse. The payload of a notification is
/// [below 8,000 bytes](https://www.postgresql.org/docs/current/sql-notify.html), and a message of
/// 500 changes is larger; and a node that is not connected never receives a notification. A
/// `NOTIFY` takes
/// [one lock for the whole server](https://github.com/postgres/postgres/blob/REL_17_STABLE/src/backend/commands/async.c)
/// until its transaction is committed. This has taken down services that sent notifications from
/// long transactions or from very many
/// (<https://simonwillison.net/2025/Jul/11/postgres-listen-notify/>, July 2025). Here each one is a
/// transaction of one short statement that does not wait for the disk, and heartbeats send none. A
/// service that changes thousands of sessions a second should give the bus a server of its own, or
/// use Redis.
///
/// # When messages are missing
/// How a loss is noticed, what health means and when subscribers resync is the same for all buses:
/// see [`session_runtime::bus`]. A lost connection alone does not cause a resync here: the missed
/// messages are read and delivered in order. A subscriber resyncs if messages that were not read
/// are gone: the node was cut off for longer than they are [kept](Self::with_retention), the table
/// was emptied, or the server crashed, which empties it.
///
/// # Connections and tasks
/// The bus opens two connections of its own, with the options and hooks of the given pool: one that
/// writes and, while there are subscriptions, one that listens and reads for all of them. Plan for
/// them in addition to the pool's maximum. One task sends heartbeats and listens. It starts with
/// the first publication or subscription, on its tokio runtime, and ends when the bus, its clones
/// and its subscriptions are dropped. A node that only publishes sends heartbeats too; otherwise
/// the other nodes could not notice a message that it failed to write.
///
/// **Behind PgBouncer, pooled by transaction or statement, `LISTEN` does not work**: the bus stays
/// healthy, but the changes of other nodes are read up to a second late, and the bus logs a
/// warning. Give the bus a URL that connects directly to the server. A streaming replica cannot be
/// used, because it accepts no heartbeats.
///
/// | bound | value | reason |
/// |---|---|---|
/// | [`with_timeout`](Self::with_timeout) | 1 s; 1 ms to 1 minute | a publication, including the wait for those before it |
/// | [`with_retention`](Self::with_retention) | 1 minute; 1 s to 1 hour | how long a node may be cut off without a resync |
/// | [`MAX_KEPT`](Self::MAX_KEPT) | 65,536 messages | limits the table, however many messages arrive within the retention |
/// | removal of old messages | every 5 s and node, at most 20 statements of 500 rows | |
/// | messages read at once | 256 | 3 MB, if all of them are full |
/// | all others | | those of [`session_runtime::bus`] |
///
/// # Security
/// Messages contain ids, revisions and whether a session ended; none of them grants access. They
/// are not authenticated: a client with write access to the table can make caches discard their
/// entries, as often as every second, claim that a session ended, and hide a node's changes by
/// using their numbers first. It cannot make an ended session valid again, because a message only
/// ever causes another look at the store. A database user with the least privileges needs `SELECT`,
/// `INSERT`, `UPDATE` and `DELETE` on both tables. `NOTIFY` and `LISTEN` need no privilege, and a
/// foreign `NOTIFY` costs each node a read. Messages that are not from a bus are dropped,
/// [counted](Self::ignored), and logged at most once a minute.
///
/// # Examples
/// ```no_run
/// # async fn start(id: session_core::SessionId) -> Result<(), Box<dyn std::error::Error>> {
/// use session_core::{BusEvent, Invalidation, InvalidationBus, Revision, Scope};
/// use session_sqlx::PostgresBus;
///
/// let bus = PostgresBus::connect("postgres://app@localhost/app").await?;
/// bus.migrate().await?; // or `verify`, if migrations run elsewhere
/// let mut subscription = bus.subscribe().await?;
/// let scope = Scope::new("shop-production", Some("sessions"))?;
/// bus.publish(scope, &[Invalidation::new(id, Revision::FIRST.next(), true)]).await?;
/// match subscription.next().await {
///     BusEvent::Changed(of, changes) if of == scope => println!("discard copies: {changes:?}"),
///     BusEvent::Changed(..) => {} // sessions of another application
///     _ => println!("discard all copies"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresBus(Bus<PgTransport>);

impl PostgresBus {
    /// The limit for a heartbeat, and for a publication unless [another one](Self::with_timeout) is
    /// set: 1 second.
    pub const TIMEOUT: Duration = Duration::from_secs(1);

    /// The number of messages that are kept, whatever their age: 65,536.
    pub const MAX_KEPT: u32 = 65_536;

    /// The ranges of [`with_retention`](Self::with_retention) and
    /// [`with_timeout`](Self::with_timeout).
    const RETENTION: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3_600));
    const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60));

    /// Creates a bus in the database of a pool. Opens no connection and changes nothing.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self::on(pool, Self::default_table(), Duration::from_secs(60), Self::TIMEOUT)
    }

    /// Creates a bus in a database of its own, and opens the connection that writes.
    ///
    /// # Errors
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) if there is no connection within 5
    /// seconds, [`Other`](session_core::ErrorKind::Other) for an invalid URL.
    pub async fn connect(url: &str) -> Result<Self> {
        let failed = |error: StepError| error.into_error::<Postgres>("connect");
        let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| failed(error.into()))?;
        let bus = Self::new(PgPoolOptions::new().connect_lazy_with(options));
        bus.log().lines.open().await.map_err(failed)?;
        Ok(bus)
    }

    /// Returns the default name of the table: `session_changes`. A second table,
    /// `session_changes_head`, belongs to it.
    #[must_use]
    pub fn default_table() -> TableName {
        TableName::unchecked("session_changes")
    }

    /// Sets the table. Buses with the same table receive each other's messages. The result is a
    /// node other than this one.
    #[must_use]
    pub fn with_table(self, table: TableName) -> Self {
        Self::on(self.log().lines.pool().clone(), table, self.log().retention, self.log().timeout)
    }

    /// Sets how long messages are kept at least. The shortest setting of all nodes applies. The
    /// result is a node other than this one.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) outside of the range.
    pub fn with_retention(self, retention: Duration) -> Result<Self> {
        check_range(retention, Self::RETENTION, "messages are kept for 1 s to 1 h")?;
        let (pool, table) = (self.log().lines.pool().clone(), self.log().table.clone());
        Ok(Self::on(pool, table, retention, self.log().timeout))
    }

    /// Sets the limit for a publication, including the wait for those before it. A publication that
    /// exceeds it is a [`Timeout`](session_core::ErrorKind::Timeout). The result is a node other
    /// than this one.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) outside of the range.
    pub fn with_timeout(self, timeout: Duration) -> Result<Self> {
        check_range(timeout, Self::TIMEOUTS, "the limit of a publication is 1 ms to 60 s")?;
        let (pool, table) = (self.log().lines.pool().clone(), self.log().table.clone());
        Ok(Self::on(pool, table, self.log().retention, timeout))
    }

    fn on(pool: PgPool, table: TableName, retention: Duration, timeout: Duration) -> Self {
        Self(Bus::new(PgTransport::new(pool, table, retention, timeout)))
    }

    fn log(&self) -> &Log {
        self.0.transport().log()
    }

    /// Creates the tables if they do not exist, and checks them. Any number of processes may call
    /// it at once.
    ///
    /// # Errors
    /// [`Missing`](MigrateError::Missing) if a table of that name exists with other columns; its
    /// rows and columns are not changed.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        SCHEMA.migrate(self.log().lines.pool(), &self.log().table).await
    }

    /// Checks that everything the bus needs exists, and lists what is missing. Changes nothing.
    ///
    /// # Errors
    /// [`Missing`](MigrateError::Missing) with each missing table and column.
    pub async fn verify(&self) -> Result<(), MigrateError> {
        SCHEMA.verify(self.log().lines.pool(), &self.log().table).await
    }

    /// Returns the SQL that creates the tables, for use with another migration tool.
    #[must_use]
    pub fn migration_sql(table: &TableName) -> String {
        SCHEMA.sql(table)
    }

    /// Returns how many messages were ignored because they are not in this version's format.
    ///
    /// Another program writes to the table, or a node of another release.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.0.ignored()
    }
}

#[async_trait]
impl InvalidationBus for PostgresBus {
    /// Sends changes of one scope, at most 500 at once. An empty slice sends nothing.
    ///
    /// When it returns, the changes are in the table, and every listening node has been notified.
    ///
    /// # Errors
    /// - [`Invalid`](session_core::ErrorKind::Invalid) for more than 500; nothing was sent.
    /// - [`Unavailable`](session_core::ErrorKind::Unavailable) and
    ///   [`Timeout`](session_core::ErrorKind::Timeout) when the server does not answer within the
    ///   [timeout](PostgresBus::with_timeout). The message has used its number, so the other nodes
    ///   resync if they did not receive it, a second after this node can write again.
    async fn publish(&self, scope: Scope, changes: &[Invalidation]) -> Result<()> {
        self.0.publish(scope, changes).await
    }

    /// Begins to receive, and returns when this node has received its own heartbeat.
    ///
    /// # Errors
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) and
    /// [`Timeout`](session_core::ErrorKind::Timeout) when the bus cannot subscribe now, after at
    /// most 6 seconds.
    ///
    /// # Cancellation
    /// No subscription is left.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>> {
        self.0.subscribe().await
    }

    fn health(&self) -> BusHealth {
        self.0.health()
    }
}

impl fmt::Debug for PostgresBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresBus").field(&self.0).finish()
    }
}
