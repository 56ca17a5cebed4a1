//! Bytes between nodes through the log.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use session_core::bus::Outgoing;
use session_core::{Error, Result, async_trait};
use session_runtime::bus::{Continuity, Received, Receiver, SILENCE, Transport};
use sqlx::postgres::{PgArguments, PgListener};
use sqlx::{Arguments, Executor, PgPool, Postgres};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::super::lines::{Lines, private};
use super::log::{Cursor, Statements};
use super::{NAME, PostgresBus};
use crate::dialect::Dialect;
use crate::error::StepError;
use crate::table::TableName;

/// How many messages are read at once.
const PAGE: i64 = 256;

/// Old messages are removed after every so many heartbeats, in at most `CLEANINGS` statements of at
/// most `CLEANED` messages.
const CLEAN_EVERY: u64 = 5;
const CLEANINGS: usize = 20;
const CLEANED: i64 = 500;

pub(super) struct PgTransport(Arc<Log>);

/// The table of messages, and the connection that writes to it.
pub(super) struct Log {
    /// Only one connection, so that messages are written in the order of their numbers.
    pub(super) lines: Lines,
    pub(super) table: TableName,
    pub(super) retention: Duration,
    /// The limit for a publication.
    pub(super) timeout: Duration,
    statements: Statements,
    /// Notifies the receiver to read after each heartbeat, written or failed.
    heartbeat: Notify,
    heartbeats: AtomicU64,
}

impl PgTransport {
    pub(super) fn new(pool: PgPool, table: TableName, retention: Duration, timeout: Duration) -> Self {
        Self(Arc::new(Log {
            lines: Lines::new(pool, 1, PostgresBus::TIMEOUT),
            statements: Statements::new(&table),
            table,
            retention,
            timeout,
            heartbeat: Notify::new(),
            // A random offset, so that not all nodes clean up at the same time.
            heartbeats: AtomicU64::new(RandomState::new().hash_one(()) % CLEAN_EVERY),
        }))
    }

    pub(super) fn log(&self) -> &Log {
        &self.0
    }
}

#[async_trait]
impl Transport for PgTransport {
    type Receiver = PgReceiver;

    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, operation: &'static str, message: Outgoing<'_>) -> Result<()> {
        let is_publication = operation == "publish";
        let limit = if is_publication { self.0.timeout } else { PostgresBus::TIMEOUT };
        let written = self.0.write(operation, message, is_publication, limit).await;
        if !is_publication {
            self.0.heartbeat.notify_one();
        }
        written
    }

    fn receiver(&self) -> PgReceiver {
        PgReceiver { log: Arc::clone(&self.0), cursor: Cursor::Fresh, connection: None }
    }

    async fn maintain(&self) {
        if self.0.heartbeats.fetch_add(1, Ordering::Relaxed).is_multiple_of(CLEAN_EVERY) {
            self.0.clean().await;
        }
    }
}

impl fmt::Debug for PgTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgTransport").field("table", &self.0.table).finish_non_exhaustive()
    }
}

impl Log {
    /// Writes a message. It takes its number when it has the connection, so that messages are
    /// written in the order of their numbers.
    async fn write(
        &self,
        operation: &'static str,
        message: Outgoing<'_>,
        notifies: bool,
        limit: Duration,
    ) -> Result<()> {
        let arguments = || {
            let mut arguments = PgArguments::default();
            arguments.add(message.bytes())?;
            arguments.add(notifies)?;
            arguments.add(&self.statements.channel)?;
            arguments.add(limit.as_millis().to_string())?;
            Ok(arguments)
        };
        let lines = self.lines.with_statement_timeout(limit.max(PostgresBus::TIMEOUT));
        match timeout(limit, lines.rows(&self.statements.write, arguments)).await {
            Ok(result) => result.map(drop).map_err(|error| error.into_error::<Postgres>(operation)),
            Err(_) => Err(Error::timeout(NAME, operation).with_detail("the server did not answer in time")),
        }
    }

    /// Removes old messages.
    async fn clean(&self) {
        let retention = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        let arguments = || {
            let mut arguments = PgArguments::default();
            arguments.add(retention)?;
            arguments.add(i64::from(PostgresBus::MAX_KEPT))?;
            arguments.add(CLEANED)?;
            Ok(arguments)
        };
        for _ in 0..CLEANINGS {
            let cleaning = self.lines.rows(&self.statements.clean, arguments);
            let rows = match timeout(PostgresBus::TIMEOUT, cleaning).await {
                Ok(Ok(rows)) => rows,
                Ok(Err(error)) => {
                    let error = error.into_error::<Postgres>("clean");
                    tracing::debug!(backend = NAME, %error, "old messages were not removed");
                    return;
                }
                Err(_) => return,
            };
            let count = rows.first().and_then(|row| Postgres::int(row, 0).ok().flatten());
            if count != Some(CLEANED) {
                return;
            }
        }
    }
}

/// Reads the log after each notification and each heartbeat.
pub(super) struct PgReceiver {
    log: Arc<Log>,
    /// Kept across connections, so that missed messages are read after a reconnection.
    cursor: Cursor,
    connection: Option<Listening>,
}

struct Listening {
    connection: PgListener,
    opened: Instant,
    /// Whether a notification has arrived, or the log line about their absence was written.
    is_notified: bool,
    /// The messages that were read when the connection was opened.
    first: Option<Received>,
    /// Whether the last read left messages unread.
    is_more: bool,
}

impl PgReceiver {
    async fn open(&mut self) -> Result<Listening, StepError> {
        let mut connection = PgListener::connect_with(&private(self.log.lines.pool())).await?;
        connection.eager_reconnect(false);
        connection.ignore_pool_close_event(true);
        let channel = &self.log.statements.channel;
        connection.listen(channel).await?;
        // Arrives here too, unless a pooler is in between that does not pass notifications on.
        let notify = sqlx::query("SELECT pg_notify($1, '')").bind(channel.clone());
        connection.execute(notify).await?;
        let (first, is_more) = read(&self.log, &mut self.cursor, &mut connection).await?;
        let opened = Instant::now();
        Ok(Listening { connection, opened, is_notified: false, first: Some(first), is_more })
    }
}

#[async_trait]
impl Receiver for PgReceiver {
    async fn connect(&mut self) -> Result<Continuity> {
        // The old connection is closed first.
        self.connection = None;
        let opened = self.open().await;
        self.connection = Some(opened.map_err(|error| error.into_error::<Postgres>("subscribe"))?);
        Ok(Continuity::Resumed)
    }

    async fn receive(&mut self) -> Result<Received> {
        let lost = || Error::unavailable(NAME, "subscribe").with_detail("the connection was lost");
        let failed = |error: StepError| error.into_error::<Postgres>("subscribe");
        let listening = self.connection.as_mut().ok_or_else(lost)?;
        if let Some(first) = listening.first.take() {
            return Ok(first);
        }
        if !listening.is_more {
            tokio::select! {
                notified = listening.connection.try_recv() => match notified {
                    Ok(Some(_)) => listening.is_notified = true,
                    Ok(None) => return Err(lost()),
                    Err(error) => return Err(failed(error.into())),
                },
                () = self.log.heartbeat.notified() => {}
            }
            // One read serves all notifications that have arrived.
            while listening.connection.next_buffered().is_some() {
                listening.is_notified = true;
            }
        }
        let (received, is_more) =
            read(&self.log, &mut self.cursor, &mut listening.connection).await.map_err(failed)?;
        listening.is_more = is_more;
        listening.warn_without_notifications();
        Ok(received)
    }
}

impl Listening {
    fn warn_without_notifications(&mut self) {
        if !self.is_notified && self.opened.elapsed() > SILENCE {
            self.is_notified = true;
            tracing::warn!(
                backend = NAME,
                "notifications do not arrive, so changes are received up to a second late; a pooler between here and \
                 the server must pool by session",
            );
        }
    }
}

/// Reads the next messages, and returns whether more follow.
async fn read(
    log: &Log,
    cursor: &mut Cursor,
    connection: &mut PgListener,
) -> Result<(Received, bool), StepError> {
    let mut arguments = PgArguments::default();
    arguments.add(cursor.seq()).map_err(sqlx::Error::Encode)?;
    arguments.add(PAGE).map_err(sqlx::Error::Encode)?;
    let rows = connection.fetch_all(sqlx::query_with(log.statements.read.clone(), arguments)).await?;
    let page = cursor.take(&rows)?;
    let received = Received::new(page.messages);
    Ok((if page.is_gap { received.with_gap() } else { received }, page.is_more))
}
