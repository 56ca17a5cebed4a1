//! The task of a bus: it beats, and reads while somebody wants to hear.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use session_core::bus::{Body, Heard, Message, Senders};
use session_core::{BusEvent, Error};
use sqlx::postgres::{PgArguments, PgListener, PgRow};
use sqlx::{Arguments, Executor, Postgres};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at};

use super::super::lines::private;
use super::log::Cursor;
use super::{NAME, PostgresBus, Shared, State, random};
use crate::dialect::Dialect;
use crate::error::Trouble;

/// How many messages are read at once.
const PAGE: i64 = 256;

/// After how many beats old messages are removed, in how many statements at most, and how many messages in each.
const CLEAN_EVERY: u64 = 5;
const CLEANINGS: usize = 20;
const CLEANED: i64 = 500;

/// At most one resync in this time.
const SPACING: Duration = Duration::from_secs(1);

/// At most one line about ignored messages in this time.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// The wait before a new connection: the first, which doubles each time, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Ends when the other end of `stop` is dropped.
pub(super) async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<()>) {
    tokio::select! {
        _ = stop.changed() => {}
        () = beat(&shared) => {}
        () = listen(&shared) => {}
    }
    shared.state.send_replace(State::Deaf);
    // If it does not arrive, the others wait and resync. It takes no longer than a beat.
    let _ = shared.send(shared.publisher.farewell(), false, PostgresBus::TIMEOUT, "farewell").await;
}

async fn beat(shared: &Shared) {
    let mut ticks = interval(PostgresBus::BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Not all nodes at once.
    let turn = random() % CLEAN_EVERY;
    for beat in 0_u64.. {
        ticks.tick().await;
        // One that fails shows by its absence, here and at the others.
        if let Err(error) = shared.beat(false).await {
            tracing::debug!(backend = NAME, %error, "a beat was not written");
        }
        shared.beaten.notify_one();
        if beat % CLEAN_EVERY == turn {
            clean(shared).await;
        }
    }
}

/// Removes old messages.
async fn clean(shared: &Shared) {
    let retention = i64::try_from(shared.retention.as_millis()).unwrap_or(i64::MAX);
    let arguments = || {
        let mut arguments = PgArguments::default();
        arguments.add(retention)?;
        arguments.add(i64::from(PostgresBus::MAX_KEPT))?;
        arguments.add(CLEANED)?;
        Ok(arguments)
    };
    for _ in 0..CLEANINGS {
        let cleaning = shared.lines.rows(&shared.statements.clean, arguments);
        let rows = match timeout(PostgresBus::TIMEOUT, cleaning).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(trouble)) => {
                let error = trouble.into_error::<Postgres>("clean");
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

async fn listen(shared: &Shared) {
    let mut subscriptions = shared.subscriptions.subscribe();
    loop {
        // The count is never gone, because it is in `shared`.
        let _ = subscriptions.wait_for(|count| *count > 0).await;
        let mut listening = pin!(Listener::new(shared).listen());
        while !is_deserted(shared) {
            tokio::select! {
                never = &mut listening => match never {},
                _ = subscriptions.wait_for(|count| *count == 0) => {}
            }
        }
    }
}

/// Whether nobody wants to hear any more. Then the bus is deaf before anybody can come, who would else rely on what has just ended.
fn is_deserted(shared: &Shared) -> bool {
    let mut is_deserted = false;
    shared.subscriptions.send_if_modified(|count| {
        is_deserted = *count == 0;
        if is_deserted {
            shared.state.send_replace(State::Deaf);
        }
        false
    });
    is_deserted
}

/// What receives for all subscribers.
struct Listener<'s> {
    shared: &'s Shared,
    cursor: Cursor,
    senders: Senders,
    /// When subscribers were told to resync.
    resynced: Option<Instant>,
    /// When they are to be told again.
    owed: Option<Instant>,
    complaint: Option<Instant>,
    was_healthy: bool,
}

impl<'s> Listener<'s> {
    fn new(shared: &'s Shared) -> Self {
        let senders = Senders::new();
        let cursor = Cursor::Fresh;
        Self { shared, cursor, senders, resynced: None, owed: None, complaint: None, was_healthy: false }
    }

    /// Replaces the connection whenever it is lost.
    async fn listen(mut self) -> Infallible {
        let (shortest, longest) = PAUSES;
        let mut pause = shortest;
        let mut told = String::new();
        loop {
            self.shared.state.send_replace(State::Opening);
            let (error, healthy_since) = self.one_connection().await;
            if healthy_since.is_some_and(|since| since.elapsed() > PostgresBus::SILENCE) {
                pause = shortest;
            }
            // Once each time, and when it fails in another way. Before it ever worked, `subscribe` says it.
            if healthy_since.is_some() || (self.was_healthy && error.to_string() != told) {
                told = error.to_string();
                let message = "changes on other nodes are not heard until there is a new connection";
                tracing::warn!(backend = NAME, %error, message);
            }
            self.shared.state.send_replace(State::Down(Arc::new(error)));
            // Half of it is chance, so that not all nodes come back at once.
            let part = u32::try_from(random() % 512).unwrap_or(0);
            sleep(pause / 2 + pause * part / 1024).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Opens a connection, reads what was missed, and writes something that it should read.
    async fn open(&mut self) -> Result<PgListener, Error> {
        let failed = |error: sqlx::Error| Trouble::from(error).into_error::<Postgres>("subscribe");
        let mut ear = PgListener::connect_with(&private(self.shared.lines.pool())).await.map_err(failed)?;
        ear.eager_reconnect(false);
        ear.ignore_pool_close_event(true);
        ear.listen(&self.shared.statements.channel).await.map_err(failed)?;
        self.read(&mut ear).await?;
        self.shared.beat(true).await?;
        Ok(ear)
    }

    /// Listens until the connection is lost, and says why and since when it was healthy, if it was.
    async fn one_connection(&mut self) -> (Error, Option<Instant>) {
        let opened = Instant::now();
        let patience = opened + PostgresBus::SILENCE;
        let mut ear = match timeout_at(patience, self.open()).await {
            Ok(Ok(ear)) => ear,
            Ok(Err(error)) => return (error, None),
            Err(_) => return (unheard("there was no connection in time"), None),
        };
        let (mut healthy_since, mut is_woken) = (None, false);
        loop {
            let deadline = match healthy_since {
                Some(_) => self.shared.proven() + PostgresBus::SILENCE,
                None => patience,
            };
            let owed = self.owed;
            tokio::select! {
                biased;
                () = sleep_until(deadline) => return (unheard("this node does not hear itself"), healthy_since),
                () = sleep_until(owed.unwrap_or(deadline)), if owed.is_some() => {
                    self.tell_resync();
                    continue;
                }
                woken = ear.try_recv() => match woken {
                    Ok(Some(_)) => is_woken = true,
                    Ok(None) => return (unheard("the connection was lost"), healthy_since),
                    Err(error) => {
                        return (Trouble::from(error).into_error::<Postgres>("subscribe"), healthy_since);
                    }
                },
                () = self.shared.beaten.notified() => {}
            }
            // One read serves all that has come.
            while ear.next_buffered().is_some() {}
            let is_proven = match timeout_at(deadline, self.read(&mut ear)).await {
                Ok(Ok(is_proven)) => is_proven,
                Ok(Err(error)) => return (error, healthy_since),
                Err(_) => return (unheard("the server does not answer"), healthy_since),
            };
            if healthy_since.is_none() && is_proven {
                healthy_since = Some(Instant::now());
                self.begin();
            }
            if healthy_since.is_some() && self.senders.any_silent(now()) {
                self.resync();
            }
            if !is_woken && opened.elapsed() > PostgresBus::SILENCE {
                is_woken = true;
                tracing::warn!(
                    backend = NAME,
                    "notifications do not arrive, so changes are heard up to a second late; a pooler between here and the server \
                     must pool by session",
                );
            }
        }
    }

    /// Says that all is well from now on.
    fn begin(&mut self) {
        self.senders.excuse(now());
        self.shared.state.send_replace(State::Healthy);
        if std::mem::replace(&mut self.was_healthy, true) {
            tracing::info!(backend = NAME, "changes on other nodes are heard again");
        }
    }

    /// Reads and tells what is new, and says whether it proves that messages arrive.
    async fn read(&mut self, ear: &mut PgListener) -> Result<bool, Error> {
        let failed = |trouble: Trouble| trouble.into_error::<Postgres>("subscribe");
        let mut is_proven = false;
        loop {
            let rows = self.rows(ear).await.map_err(failed)?;
            let page = self.cursor.take(&rows).map_err(failed)?;
            for message in page.messages {
                is_proven |= self.take(&message);
            }
            if page.is_gap {
                self.resync();
            }
            if !page.is_more {
                return Ok(is_proven);
            }
        }
    }

    async fn rows(&self, ear: &mut PgListener) -> Result<Vec<PgRow>, Trouble> {
        let mut arguments = PgArguments::default();
        arguments.add(self.cursor.seq()).map_err(sqlx::Error::Encode)?;
        arguments.add(PAGE).map_err(sqlx::Error::Encode)?;
        Ok(ear.fetch_all(sqlx::query_with(self.shared.statements.read.clone(), arguments)).await?)
    }

    /// Takes a message, and says whether it proves that messages arrive.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let Some(message) = Message::decode(bytes) else {
            self.ignore();
            return false;
        };
        if message.node == self.shared.publisher.node() {
            return matches!(message.body, Body::Beat(clock) if self.proves(clock));
        }
        let Heard { changes, is_gap, .. } = self.senders.hear(message, now());
        if is_gap {
            self.resync();
        }
        if let Some((scope, changes)) = changes {
            self.tell(BusEvent::Changed(scope, changes));
        }
        false
    }

    /// An own beat, written when the clock stood there. One that was long under way proves that messages are late.
    fn proves(&self, clock: u64) -> bool {
        let age = self.shared.clock().checked_sub(clock);
        let is_fresh = age.is_some_and(|age| Duration::from_millis(age) <= PostgresBus::SILENCE);
        if is_fresh {
            self.shared.proof.fetch_max(clock, Ordering::Relaxed);
        }
        is_fresh
    }

    fn ignore(&mut self) {
        let ignored = self.shared.ignored.fetch_add(1, Ordering::Relaxed) + 1;
        if self.complaint.is_none_or(|complaint| complaint.elapsed() > COMPLAINTS) {
            self.complaint = Some(Instant::now());
            let table = &self.shared.table;
            let message = "somebody writes what no session bus of this version does";
            tracing::warn!(backend = NAME, %table, ignored, message);
        }
    }

    /// Makes subscribers resync: now, or as soon as the last time is long enough ago.
    fn resync(&mut self) {
        match self.resynced {
            Some(resynced) if resynced.elapsed() < SPACING => self.owed = Some(resynced + SPACING),
            _ => self.tell_resync(),
        }
    }

    fn tell_resync(&mut self) {
        (self.resynced, self.owed) = (Some(Instant::now()), None);
        self.tell(BusEvent::Resync);
    }

    fn tell(&self, event: BusEvent) {
        // It fails if the last subscription was dropped a moment ago.
        let _ = self.shared.events.send(event);
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn unheard(detail: &'static str) -> Error {
    Error::unavailable(NAME, "subscribe").with_detail(detail)
}

#[cfg(test)]
mod tests {
    use sqlx::PgPool;

    use super::*;

    #[tokio::test]
    async fn who_comes_when_the_last_one_goes_either_keeps_it_listening_or_waits() {
        let bus = PostgresBus::new(PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/none").unwrap());
        let shared = &bus.shared;
        shared.state.send_replace(State::Healthy);
        shared.subscriptions.send_replace(1);
        assert!(!is_deserted(shared) && matches!(*shared.state.borrow(), State::Healthy));
        shared.subscriptions.send_replace(0);
        assert!(is_deserted(shared) && matches!(*shared.state.borrow(), State::Deaf));
    }
}
