//! The program of one process.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use session_core::rules::RequestClient;
use session_core::{Actor, Clock, ErrorKind, SessionId, Timestamp};
use session_manager::{ConflictPolicy, NewSession, Rejection, Session, SessionManager, Tiers, ValidateError};
use session_redis::{Connection, RedisBus, RedisCache};
use session_sqlx::{PostgresCache, PostgresStore};
use sqlx::postgres::PgPoolOptions;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::wire::{Command, Event, Message, NODE, Op, Outcome, Settings, now};

pub(crate) const MAX_STALE: Duration = Duration::from_secs(3);
pub(crate) const L1_MAX_AGE: Duration = Duration::from_secs(1);
/// Shorter than an outage of the store, and long enough that a busy machine does not look like one.
pub(crate) const DEADLINE: Duration = Duration::from_secs(4);

/// Longer than in production, because everything shares one machine.
const CACHE_TIMEOUT: Duration = Duration::from_millis(250);

/// Concurrent workers of a node.
const WORKERS: usize = 4;

/// Live sessions that a node works with.
const SESSIONS: usize = 40;

/// How long a session is validated after its end.
const WATCHED_FOR: Duration = Duration::from_secs(5);

/// Runs a node if the variable is set. Does nothing in an ordinary test run.
#[test]
fn node() {
    let Ok(settings) = std::env::var(NODE) else { return };
    let settings: Settings = serde_json::from_str(&settings).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(settings));
    runtime.shutdown_background();
}

/// A clock that is ahead of the others.
#[derive(Debug)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp::from(SystemTime::now()).saturating_add(self.0)
    }
}

struct Node {
    manager: SessionManager,
    number: usize,
    /// The tokens of sessions that are not known to have ended.
    live: Mutex<HashMap<String, String>>,
    /// The tokens of ended sessions that are still validated.
    watched: Mutex<HashMap<String, String>>,
    created: AtomicUsize,
    is_draining: AtomicBool,
}

async fn run(settings: Settings) {
    let number = settings.node;
    let node = Arc::new(Node {
        manager: manager(settings).await,
        number,
        live: Mutex::default(),
        watched: Mutex::default(),
        created: AtomicUsize::new(0),
        is_draining: AtomicBool::new(false),
    });
    while node.manager.health().bus_healthy != Some(true) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    send(&Message::Ready);
    for _ in 0..WORKERS {
        tokio::spawn(Arc::clone(&node).work());
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    // The input ends when the parent process does.
    while let Some(line) = lines.next_line().await.unwrap() {
        match serde_json::from_str(&line).unwrap() {
            Command::Add { session, token } => drop(node.live.lock().insert(session, token)),
            Command::Watch { session } => node.watch(session),
            Command::Drain => node.is_draining.store(true, Ordering::SeqCst),
            Command::Stop => break,
        }
    }
}

async fn manager(settings: Settings) -> SessionManager {
    let pool = PgPoolOptions::new().max_connections(8).connect(&settings.postgres).await.unwrap();
    let (store, cache) = (PostgresStore::new(pool.clone()), PostgresCache::new(pool));
    store.migrate().await.unwrap();
    cache.migrate().await.unwrap();
    let redis = RedisCache::new(Connection::open(settings.redis).unwrap());
    let bus = RedisBus::new(Connection::open(settings.bus).unwrap());
    let prefix: session_redis::KeyPrefix = settings.prefix.parse().unwrap();
    let tiers = Tiers::memory()
        .with_scope("processes")
        .with_cache(redis.with_prefix(prefix.clone()))
        .with_cache(cache.with_timeout(CACHE_TIMEOUT).expect("in its range"))
        .with_bus(bus.with_prefix(prefix))
        .with_max_stale(MAX_STALE)
        .with_l1_max_age(L1_MAX_AGE)
        .with_cache_timeout(CACHE_TIMEOUT);
    SessionManager::builder(store)
        .with_tiers(tiers)
        .with_store_deadline(DEADLINE)
        .with_clock(Ahead(Duration::from_secs(settings.ahead_seconds)))
        .with_conflict_policy(ConflictPolicy::Mine)
        .with_sweep_interval(Duration::from_secs(5))
        .build()
        .unwrap()
}

impl Node {
    async fn work(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_micros(fastrand::u64(1_000..15_000))).await;
            let is_draining = self.is_draining.load(Ordering::SeqCst);
            if !is_draining && self.live.lock().len() < SESSIONS {
                self.create().await;
            }
            let Some((session, token)) = self.any() else { continue };
            match fastrand::u8(0..100) {
                0..10 if !is_draining => self.end(session, &token).await,
                10..20 => self.save(session, &token).await,
                20..25 => drop(self.validate(Op::Authoritative, &session, &token).await),
                _ => drop(self.validate(Op::Validate, &session, &token).await),
            }
        }
    }

    fn any(&self) -> Option<(String, String)> {
        let live = self.live.lock();
        let nth = fastrand::usize(0..live.len().max(1));
        live.iter().nth(nth).map(|(session, token)| (session.clone(), token.clone()))
    }

    async fn create(&self) {
        let count = self.created.fetch_add(1, Ordering::SeqCst);
        let user = format!("user {} {} {count}", self.number, std::process::id()).parse().unwrap();
        let began = now();
        let created = self.manager.create(NewSession::for_user(user)).await;
        // A failed creation needs no check, because no node has its token.
        let Ok(created) = created else { return };
        let (session, token) = (created.session.id().to_string(), created.token.expose().to_string());
        self.record(Op::Create, &session, began, Outcome::Yes, false);
        self.live.lock().insert(session.clone(), token.clone());
        send(&Message::Created { session, token });
    }

    async fn validate(&self, op: Op, session: &str, token: &str) -> Option<Session> {
        let (began, client) = (now(), RequestClient::default());
        let answer = match op {
            Op::Authoritative => self.manager.validate_authoritative(token, &client).await,
            _ => self.manager.validate(token, &client).await,
        };
        let outcome = match &answer {
            Ok(_) => Outcome::Yes,
            Err(ValidateError::Rejected(Rejection::Ended(_))) => Outcome::Ended,
            Err(ValidateError::Unavailable(_)) => Outcome::Unavailable,
            Err(refused) => Outcome::Refused(refused.to_string()),
        };
        let is_over = outcome == Outcome::Ended;
        self.record(op, session, began, outcome, false);
        if is_over {
            self.live.lock().remove(session);
        }
        answer.ok()
    }

    async fn save(&self, session: String, token: &str) {
        let Some(opened) = self.validate(Op::Validate, &session, token).await else { return };
        opened.insert(format!("node {}", self.number), &fastrand::u64(..)).unwrap();
        let began = now();
        let outcome = outcome(opened.save().await);
        self.record(Op::Save, &session, began, outcome, false);
    }

    async fn end(self: &Arc<Self>, session: String, token: &str) {
        let opened = self.validate(Op::Validate, &session, token).await;
        let began = now();
        // A node that is killed during the call may have ended the session.
        self.record(Op::End, &session, began, Outcome::Begun, false);
        let outcome = match opened {
            Some(opened) if fastrand::bool() => outcome(self.manager.logout(&opened).await),
            _ => {
                let id: SessionId = session.parse().unwrap();
                outcome(self.manager.revoke(id, &Actor::System).await)
            }
        };
        let tiers = self.manager.health().tiers;
        let caches_notified = tiers.iter().all(|tier| tier.healthy && tier.outbox == 0);
        self.record(Op::End, &session, began, outcome, caches_notified);
        self.watch(session);
    }

    /// Validates an ended session repeatedly.
    fn watch(self: &Arc<Self>, session: String) {
        let Some(token) = self.live.lock().remove(&session) else { return };
        if self.watched.lock().insert(session.clone(), token.clone()).is_some() {
            return;
        }
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let began = std::time::Instant::now();
            let mut pause = Duration::from_millis(1);
            while began.elapsed() < WATCHED_FOR {
                if node.validate(Op::Validate, &session, &token).await.is_none() {
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
                tokio::time::sleep(pause).await;
            }
            node.watched.lock().remove(&session);
        });
    }

    fn record(&self, op: Op, session: &str, began: u64, outcome: Outcome, caches_notified: bool) {
        let (node, session, ended) = (self.number, session.to_owned(), now());
        let event = Event { life: 0, node, op, session, began, ended, outcome, caches_notified };
        send(&Message::Event(event));
    }
}

fn outcome<T>(result: session_core::Result<T>) -> Outcome {
    match result {
        Ok(_) => Outcome::Yes,
        Err(error) if error.is_transient() => Outcome::Unavailable,
        Err(error) if error.kind() == ErrorKind::Ended => Outcome::Ended,
        Err(error) if error.kind() == ErrorKind::Conflict => Outcome::Conflict,
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

fn send(message: &Message) {
    let line = serde_json::to_string(message).unwrap();
    let mut out = std::io::stdout().lock();
    // The parent may have closed the pipe at the end of the test.
    let _ = writeln!(out, "{line}");
}
