//! Telling the other nodes what changed here, through a table and `NOTIFY`.

mod log;
mod subscriber;
mod task;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use session_core::bus::{Outgoing, Publisher, Senders};
use session_core::{
    BusEvent, BusHealth, Error, Invalidation, InvalidationBus, Result, Scope, Subscription, async_trait,
};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions};
use sqlx::{Arguments, PgPool, Postgres};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::NAME;
use super::lines::Lines;
use crate::error::Trouble;
use crate::migrate::MigrateError;
use crate::table::TableName;
use log::{SCHEMA, Statements};
use subscriber::{Seat, Subscriber};

/// An [`InvalidationBus`] in PostgreSQL 12 or later: what changed on one node is known to the others a moment later, and also if they
/// were cut off meanwhile.
///
/// # How it works
/// Messages are rows of a small `UNLOGGED` table, numbered without holes in the order in which they are committed. `NOTIFY` carries
/// nothing; it wakes the others, who read what is new. They read once a second all the same, and after each reconnection. So there is one
/// way on which messages arrive, and a message that came while the connection was lost is late, not lost.
///
/// The alternatives were worse: what a notification carries is [below 8,000 bytes](https://www.postgresql.org/docs/current/sql-notify.html),
/// and a message of 500 changes is not; and who was not connected never gets it. A `NOTIFY` takes
/// [one lock for the whole server](https://github.com/postgres/postgres/blob/REL_17_STABLE/src/backend/commands/async.c) until its
/// transaction is committed. That has brought services down which notified from long or from very many transactions
/// (<https://simonwillison.net/2025/Jul/11/postgres-listen-notify/>, July 2025). Here each is a transaction of one short
/// statement that waits for no disk, and beats do without. A service that changes thousands of sessions a second should give the bus
/// a server of its own, or use Redis.
///
/// # When something is missing
/// Each node counts its messages, and writes once a second how far it has counted (a beat). A subscriber is told to
/// [resync](BusEvent::Resync) when
///
/// - messages that were not read are gone: the node was cut off for longer than they are [kept](Self::with_retention), somebody emptied
///   the table, or the server crashed, which does;
/// - a node has counted a message that is not in the table: its publication failed, or its caller gave up;
/// - a node that was heard is silent for 3 seconds without having said farewell: it may have changes that it cannot tell;
/// - the subscriber was too slow for its buffer. It alone resyncs, and goes on with what is new.
///
/// A lost connection alone is none of these: what was missed is read and delivered, in order. Whoever joins late does not know how far
/// others had counted, so a resync follows in its first second, if anything was said. Except for slow subscribers there is at most one
/// resync per second: the first at once, those of the next second together at its end.
///
/// # Health
/// A node writes its own beats and reads them. While it does, and they are not older than 3 seconds, the bus is
/// [healthy](BusHealth::Healthy). Else it is degraded, the connection is replaced (after 50 ms, then more and more slowly up to once a
/// second), and it is healthy again when what was missed was read and a beat came back. A bus without a subscription reads
/// nothing, so it is [degraded](BusHealth::Degraded) until [`subscribe`](InvalidationBus::subscribe) has returned, and again when the last
/// subscription was dropped.
///
/// # Connections and tasks
/// The bus opens two connections of its own, with the options and hooks of the given pool: one that writes, and, while there are
/// subscriptions, one that listens and reads for all of them. Plan for them besides the pool's maximum. One task beats and listens; it
/// begins with the first publication or subscription, on its tokio runtime, and ends when the bus, its clones and its subscriptions are
/// dropped. A node that only publishes beats as well, else nobody would know of a message that it could not write.
///
/// **Behind PgBouncer, pooled by transaction or statement, `LISTEN` does not work**: the bus stays healthy, but what others change is
/// read up to a second late, and the log says so. Give the bus a URL of its own that leads to the server. A streaming replica cannot be
/// used, because it takes no beats.
///
/// | bound | value | reason |
/// |---|---|---|
/// | changes in one message | 500, 12,546 bytes | [`MAX_BATCH`](session_core::limits::MAX_BATCH) |
/// | [`BEAT`](Self::BEAT) | 1 s | one small row per node and second; what could not be written is known a second later |
/// | [`SILENCE`](Self::SILENCE) | 3 s | two beats may be late; shorter than a process trusts its own copies |
/// | [`with_timeout`](Self::with_timeout) | 1 s; 1 ms to 1 minute | a publication, the wait for those before it included |
/// | [`MAX_SENDERS`](Self::MAX_SENDERS) | 1,024 nodes | the longest unheard is forgotten, which is a resync |
/// | [`BUFFER`](Self::BUFFER) | 1,024 messages per bus | at most 16 MB, if all of them are full; what does not fit is a resync |
/// | [`with_retention`](Self::with_retention) | 1 minute; 1 s to 1 hour | how long a node may be cut off without a resync |
/// | [`MAX_KEPT`](Self::MAX_KEPT) | 65,536 messages | however many come within that time |
/// | removal of old messages | every 5 s and node, at most 20 statements of 500 rows | |
/// | messages read at once | 256 | 3 MB, if all of them are full |
/// | opening a subscription | 6 s | twice [`SILENCE`](Self::SILENCE) |
///
/// # Security
/// Messages hold ids, revisions and whether a session ended; none of them opens anything. They are not authenticated: whoever may write to
/// the table can make caches forget, as often as every second, claim that a session ended, and hide a node's changes by using their
/// numbers first, but never bring an ended one back, because a message only ever says "look again". A user that may do nothing else
/// needs `SELECT`, `INSERT`, `UPDATE` and `DELETE` on both tables. `NOTIFY` and `LISTEN` need no privilege, and a foreign `NOTIFY` costs
/// each node a read. Whatever is not a message of a bus is dropped, [counted](Self::ignored), and logged at most once a minute.
///
/// # Examples
/// ```no_run
/// # async fn start(id: session_core::SessionId) -> Result<(), Box<dyn std::error::Error>> {
/// use session_core::{BusEvent, Invalidation, InvalidationBus, Revision, Scope};
/// use session_sqlx::PostgresBus;
///
/// let bus = PostgresBus::connect("postgres://app@localhost/app").await?;
/// bus.migrate().await?; // or `verify`, if migrations run elsewhere
/// let mut others = bus.subscribe().await?;
/// let scope = Scope::new("shop-production", Some("sessions"))?;
/// bus.publish(scope, &[Invalidation::new(id, Revision::FIRST.next(), true)]).await?;
/// match others.next().await {
///     BusEvent::Changed(of, changes) if of == scope => println!("forget copies: {changes:?}"),
///     BusEvent::Changed(..) => {} // sessions of another application
///     _ => println!("forget all copies"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresBus {
    shared: Arc<Shared>,
    life: Arc<Life>,
}

/// Held by the buses and the subscriptions: when it is gone, the task ends.
struct Life {
    task: Mutex<Option<JoinHandle<()>>>,
    stop: watch::Sender<()>,
}

struct Shared {
    /// The one that writes. One, so that messages are written in the order of their numbers.
    lines: Lines,
    table: TableName,
    statements: Statements,
    retention: Duration,
    /// Of a publication.
    timeout: Duration,
    publisher: Publisher,
    /// The beginning of the clock that beats tell.
    born: Instant,
    events: broadcast::Sender<BusEvent>,
    subscriptions: watch::Sender<usize>,
    state: watch::Sender<State>,
    /// A beat was written, or could not be. Time to read.
    beaten: Notify,
    /// When the latest own beat that was read had been written, on the clock of beats.
    proof: AtomicU64,
    ignored: AtomicU64,
}

/// Where listening stands.
#[derive(Debug)]
enum State {
    /// Nobody wants to hear anything.
    Deaf,
    /// The last attempt failed, or the connection was lost. Another attempt follows.
    Down(Arc<Error>),
    Healthy,
    Opening,
}

impl PostgresBus {
    /// How often a node says that it is there, and what it said last: once a second.
    pub const BEAT: Duration = Publisher::BEAT;

    /// How long nothing may be heard of a node, this one included, before messages are taken for lost: 3 seconds.
    pub const SILENCE: Duration = Senders::SILENCE;

    /// How long a beat may take, and a publication unless [another time](Self::with_timeout) is set: 1 second.
    pub const TIMEOUT: Duration = Duration::from_secs(1);

    /// How many other nodes are remembered: 1,024.
    pub const MAX_SENDERS: usize = Senders::MAX;

    /// How many messages a subscriber may be behind: 1,024.
    pub const BUFFER: usize = 1024;

    /// How many messages are kept, however young: 65,536.
    pub const MAX_KEPT: u32 = 65_536;

    /// The ranges of [`with_retention`](Self::with_retention) and of [`with_timeout`](Self::with_timeout).
    const RETENTION: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3_600));
    const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60));

    /// Makes a bus in the database of a pool. Opens nothing and changes nothing.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self::on(pool, Self::default_table(), Duration::from_secs(60), Self::TIMEOUT)
    }

    /// Makes a bus in a database of its own, and opens the connection that writes.
    ///
    /// # Errors
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) if there is no connection within 5 seconds,
    /// [`Other`](session_core::ErrorKind::Other) for a URL that is none.
    pub async fn connect(url: &str) -> Result<Self> {
        let failed = |trouble: Trouble| trouble.into_error::<Postgres>("connect");
        let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| failed(error.into()))?;
        let bus = Self::new(PgPoolOptions::new().connect_lazy_with(options));
        bus.shared.lines.open().await.map_err(failed)?;
        Ok(bus)
    }

    /// Returns the name of the table unless another is set: `session_changes`. Beside it stands one more, `session_changes_head`.
    #[must_use]
    pub fn default_table() -> TableName {
        TableName::ours("session_changes")
    }

    /// Sets the table. Buses with the same table hear each other. The result is another node than this one.
    #[must_use]
    pub fn with_table(self, table: TableName) -> Self {
        Self::on(self.shared.lines.pool().clone(), table, self.shared.retention, self.shared.timeout)
    }

    /// Sets how long messages are kept at least. Of all nodes the shortest counts. The result is another node than this one.
    ///
    /// A value outside of the range stands for its nearer end.
    #[must_use]
    pub fn with_retention(self, retention: Duration) -> Self {
        let (shortest, longest) = Self::RETENTION;
        let (pool, table) = (self.shared.lines.pool().clone(), self.shared.table.clone());
        Self::on(pool, table, retention.clamp(shortest, longest), self.shared.timeout)
    }

    /// Sets how long a publication may take, the wait for those before it included. Then it is a
    /// [`Timeout`](session_core::ErrorKind::Timeout). The result is another node than this one.
    ///
    /// A value outside of the range stands for its nearer end.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        let (shortest, longest) = Self::TIMEOUTS;
        let (pool, table) = (self.shared.lines.pool().clone(), self.shared.table.clone());
        Self::on(pool, table, self.shared.retention, timeout.clamp(shortest, longest))
    }

    fn on(pool: PgPool, table: TableName, retention: Duration, timeout: Duration) -> Self {
        let shared = Arc::new(Shared {
            lines: Lines::new(pool, 1, Self::TIMEOUT),
            statements: Statements::new(&table),
            table,
            retention,
            timeout,
            publisher: Publisher::new(),
            born: Instant::now(),
            events: broadcast::Sender::new(Self::BUFFER),
            subscriptions: watch::Sender::new(0),
            state: watch::Sender::new(State::Deaf),
            beaten: Notify::new(),
            proof: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
        });
        Self { shared, life: Arc::new(Life { task: Mutex::new(None), stop: watch::Sender::new(()) }) }
    }

    /// Makes the tables if they are not there, and checks them. Any number of processes may call it at once.
    ///
    /// # Errors
    /// [`Missing`](MigrateError::Missing) if a table of that name exists that is not ours: nothing is changed then.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        SCHEMA.migrate(self.shared.lines.pool(), &self.shared.table).await
    }

    /// Checks that everything the bus needs is there, and says exactly what is not. Changes nothing.
    ///
    /// # Errors
    /// [`Missing`](MigrateError::Missing) with every table and column that is not there.
    pub async fn verify(&self) -> Result<(), MigrateError> {
        SCHEMA.verify(self.shared.lines.pool(), &self.shared.table).await
    }

    /// Returns the text that makes the tables, for people who apply changes with a tool of their own.
    #[must_use]
    pub fn migration_sql(table: &TableName) -> String {
        SCHEMA.sql(table)
    }

    /// Returns how many messages were ignored because no bus of this version has written them.
    ///
    /// Somebody else writes to the table, or a node of another release.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.shared.ignored.load(Ordering::Relaxed)
    }

    /// Starts the task, unless it runs. It has ended if the runtime has that it ran on.
    fn start(&self) {
        let mut task = self.life.task.lock();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            self.shared.state.send_replace(State::Deaf);
            *task = Some(tokio::spawn(task::run(Arc::clone(&self.shared), self.life.stop.subscribe())));
        }
    }
}

/// A number that is not the same twice.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[async_trait]
impl InvalidationBus for PostgresBus {
    /// Sends changes of one scope, at most 500 at once. None is nothing to send.
    ///
    /// When it returns, they are in the table, and every node that listens is being woken.
    ///
    /// # Errors
    /// - [`Invalid`](session_core::ErrorKind::Invalid) for more than 500; nothing was sent.
    /// - [`Unavailable`](session_core::ErrorKind::Unavailable) and [`Timeout`](session_core::ErrorKind::Timeout) when the server does
    ///   not answer, in [time](PostgresBus::with_timeout). The message has used its number, so the others resync if they did not have it,
    ///   a second after this node can be heard again.
    async fn publish(&self, scope: Scope, changes: &[Invalidation]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let message = self.shared.publisher.changes(scope, changes)?;
        self.start();
        self.shared.send(message, true, self.shared.timeout, "publish").await
    }

    /// Begins to receive, and returns when this node has heard itself.
    ///
    /// # Errors
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) and [`Timeout`](session_core::ErrorKind::Timeout) when it cannot be
    /// subscribed now, after 6 seconds at most.
    ///
    /// # Cancellation
    /// Nothing is subscribed.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>> {
        // First, because the listener may tell something before it is healthy.
        let events = self.shared.events.subscribe();
        self.start();
        let seat = Seat::taken(&self.shared);
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| matches!(state, State::Down(_) | State::Healthy));
        match timeout(2 * Self::SILENCE, settled).await {
            Ok(Ok(state)) => {
                if let State::Down(error) = &*state {
                    return Err(Error::new(error.kind(), NAME, "subscribe").with_source(Arc::clone(error)));
                }
            }
            // The task lives as long as its runtime.
            _ => return Err(Error::timeout(NAME, "subscribe")),
        }
        Ok(Box::new(Subscriber::new(events, seat, Arc::clone(&self.life))))
    }

    fn health(&self) -> BusHealth {
        // The task may be late to notice, if it is given no time.
        let in_time = || self.shared.proven().elapsed() <= Self::SILENCE;
        match *self.shared.state.borrow() {
            State::Healthy if in_time() => BusHealth::Healthy,
            _ => BusHealth::Degraded,
        }
    }
}

impl Shared {
    /// Writes a message. The number is taken when it is its turn, so that messages are written in the order of their numbers.
    async fn send(&self, told: Outgoing<'_>, wakes: bool, limit: Duration, name: &'static str) -> Result<()> {
        let arguments = || {
            let mut arguments = PgArguments::default();
            arguments.add(told.bytes())?;
            arguments.add(wakes)?;
            arguments.add(&self.statements.channel)?;
            arguments.add(limit.as_millis().to_string())?;
            Ok(arguments)
        };
        let lines = self.lines.with_patience(limit.max(PostgresBus::TIMEOUT));
        match timeout(limit, lines.rows(&self.statements.write, arguments)).await {
            Ok(result) => result.map(drop).map_err(|trouble| trouble.into_error::<Postgres>(name)),
            Err(_) => Err(Error::timeout(NAME, name).with_detail("the server did not answer in time")),
        }
    }

    async fn beat(&self, wakes: bool) -> Result<()> {
        self.send(self.publisher.beat(self.clock()), wakes, PostgresBus::TIMEOUT, "beat").await
    }

    /// How long this node has lived, in milliseconds.
    fn clock(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When the latest own beat that was read had been written.
    fn proven(&self) -> Instant {
        self.born + Duration::from_millis(self.proof.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for PostgresBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBus")
            .field("table", &self.shared.table)
            .field("health", &self.health())
            .field("ignored", &self.ignored())
            .finish_non_exhaustive()
    }
}
