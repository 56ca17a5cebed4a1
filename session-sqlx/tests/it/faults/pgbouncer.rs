//! PgBouncer between the store and PostgreSQL.
//!
//! sqlx prepares a statement in one exchange with the server and runs it in the next, under a name
//! that its other clients use too. This also happens without its statement cache (0.9.0). With
//! pooling by transaction, the second exchange may reach another connection of the server, and
//! there another client's statement of the same name. From version 1.21 on PgBouncer tracks
//! prepared statements, if `max_prepared_statements` is not 0.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_conformance::fixtures::{limit, record_at};
use session_core::prelude::*;
use session_servers::{Kind, Options, PgBouncer, Server};
use session_sqlx::{PostgresStore, TableName};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::task::JoinSet;

use super::calls::{CALLS, assert_fails, assert_works, call, given};
use super::target::Target;
use crate::support::{fresh_table, texts};

/// Together with the three connections that a store holds, more than the server's 4.
const POOL: u32 = 8;

/// Gives each client a server connection of its own, so that prepared statements stay with it.
const BY_SESSION: [&str; 2] = ["pool_mode = session", "default_pool_size = 12"];

/// The limit until the server notices that a client has disconnected.
const NOTICE_LIMIT: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_operation_works_where_statements_are_kept_apart() {
    let Some(bounced) = Bounced::start() else { return };
    let store = Arc::new(bounced.store(bounced.options()));
    assert_eq!(store.migrate().await.unwrap().len(), 2);
    assert_works(&*store).await;
    assert_eq!(store.migrate().await.unwrap(), []);

    let session = given(&store, "dora").await;
    let failed = failed_calls(&store, &session, 200).await;
    assert!(failed.iter().all(is_expected), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_sign_ins_stay_within_their_limit() {
    let Some(bounced) = Bounced::start() else { return };
    let store = Arc::new(bounced.store(bounced.options()));
    store.migrate().await.unwrap();
    let mut sign_ins = JoinSet::new();
    for number in 0..16 {
        let store = Arc::clone(&store);
        sign_ins.spawn(async move {
            let limit = limit(3, OnExceed::EndOldest, 500);
            store.create(Arc::new(record_at("ann", number)), Some(&limit)).await.unwrap().len()
        });
    }
    assert_eq!(sign_ins.join_all().await.iter().sum::<usize>(), 13);
    let all = store.list(&ListQuery::default()).await.unwrap().records;
    assert_eq!(all.iter().filter(|record| record.ended().is_none()).count(), 3);
    assert_eq!(all.len(), 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dropped_calls_leave_no_transaction_and_no_lock_on_the_server() {
    let Some(bounced) = Bounced::start() else { return };
    let store = Arc::new(bounced.store(bounced.options()));
    store.migrate().await.unwrap();
    let mut tasks = JoinSet::new();
    for name in CALLS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let session = given(&store, "dora").await;
            let mut dropped = 0;
            for round in 0..60 {
                let call = call(&store, name, &session);
                dropped +=
                    u32::from(tokio::time::timeout(Duration::from_micros(round * 60), call).await.is_err());
            }
            dropped
        });
    }
    let dropped = tasks.join_all().await;
    assert!(dropped.iter().all(|dropped| *dropped > 0), "{dropped:?}");

    let began = Instant::now();
    while bounced.number(Postgres::IDLE_IN_TRANSACTION).await != "0" {
        assert!(began.elapsed() < NOTICE_LIMIT, "an open transaction or a lock after {NOTICE_LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_works(&*store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_old_transaction_pooler_fails_with_and_without_a_cache() {
    let Some(bounced) = Bounced::by_transaction() else { return };
    let direct = bounced.store(bounced.direct());
    direct.migrate().await.unwrap();
    for capacity in [100, 0] {
        let session = given(&direct, "dora").await;
        let store = Arc::new(bounced.store(bounced.options().statement_cache_capacity(capacity)));
        let failed = failed_calls(&store, &session, 200).await;
        println!("{} of 200 calls failed, with {capacity} statements in the cache", failed.len());
        if bounced.bouncer.tracks_prepared_statements() {
            assert!(failed.iter().all(is_expected), "{failed:?}");
        } else {
            assert!(!failed.is_empty());
        }
        // This holds for no other call: statistics have run the purge of another client, whose
        // arguments look the same.
        let absent = |(name, kind): &_| ["load", "update"].contains(name) && *kind == ErrorKind::NotFound;
        assert!(!failed.iter().any(absent), "{failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_old_transaction_pooler_runs_another_clients_statement() {
    let Some(bounced) = Bounced::by_transaction() else { return };
    let mut ann = PgConnection::connect_with(&bounced.options()).await.unwrap();
    let mut bob = PgConnection::connect_with(&bounced.options()).await.unwrap();

    let mut hers = ann.begin().await.unwrap();
    assert_eq!(answer(&mut hers, "SELECT 1 + $1").await, 1);
    assert_eq!(answer(&mut bob, "SELECT 2 + $1").await, 2);
    hers.commit().await.unwrap();
    // The connection that was returned last is given out first.
    let mut his = bob.begin().await.unwrap();
    let expected = if bounced.bouncer.tracks_prepared_statements() { 2 } else { 1 };
    assert_eq!(answer(&mut his, "SELECT 2 + $1").await, expected);
}

async fn answer(connection: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).bind(0_i64).fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refused_startup_parameter_is_an_outage() {
    let Some(bounced) = Bounced::start() else { return };
    let store = bounced.store(bounced.bouncer.url().parse().unwrap());
    let error = assert_fails("connect", ErrorKind::Unavailable, store.connect().await);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("unsupported startup parameter: extra_float_digits"), "{source}");
}

/// A PostgreSQL behind a PgBouncer.
struct Bounced {
    bouncer: PgBouncer,
    server: Server,
    table: TableName,
}

impl Bounced {
    /// Pools by transaction if this version supports it, otherwise by session. Returns `None` if
    /// either program is not installed; the test is then skipped.
    fn start() -> Option<Self> {
        let bounced = Self::by_transaction()?;
        if bounced.bouncer.tracks_prepared_statements() {
            return Some(bounced);
        }
        let options = Options::default().with_settings(BY_SESSION);
        let bouncer = tokio::task::block_in_place(|| PgBouncer::in_front_of_with(&bounced.server, &options));
        Some(Self { bouncer: bouncer.unwrap(), ..bounced })
    }

    fn by_transaction() -> Option<Self> {
        tokio::task::block_in_place(|| {
            let server = Server::for_test(Kind::Postgres, &Options::default()).unwrap()?;
            let bouncer = PgBouncer::for_test(&server, &Options::default()).unwrap()?;
            println!("{} behind {}", server.version(), bouncer.version());
            Some(Self { bouncer, server, table: fresh_table() })
        })
    }

    /// Returns the options without the parameter that an unconfigured PgBouncer refuses.
    fn options(&self) -> PgConnectOptions {
        self.bouncer.url().parse::<PgConnectOptions>().unwrap().extra_float_digits(None)
    }

    fn direct(&self) -> PgConnectOptions {
        self.server.url().parse().unwrap()
    }

    fn store(&self, options: PgConnectOptions) -> PostgresStore {
        let pool = PgPoolOptions::new().max_connections(POOL).connect_lazy_with(options);
        PostgresStore::builder(pool).table(self.table.clone()).build().unwrap()
    }

    /// Reads a number from the server directly.
    async fn number(&self, sql: &str) -> String {
        let pool: PgPool = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.direct());
        texts(&pool, &format!("SELECT ({sql})::text")).await.remove(0)
    }
}

/// Makes so many calls of all kinds at once, and returns those that failed.
async fn failed_calls(
    store: &Arc<PostgresStore>,
    session: &Arc<SessionRecord>,
    calls: usize,
) -> Vec<(&'static str, ErrorKind)> {
    let mut tasks = JoinSet::new();
    for number in 0..calls {
        let (store, session) = (Arc::clone(store), Arc::clone(session));
        tasks.spawn(async move {
            let name = CALLS[number % CALLS.len()];
            call(&*store, name, &session).await.err().map(|error| (name, error.kind()))
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// Returns true for an expected failure: all tasks update the same revision of a session that a
/// sweep ends, and one of them is first.
fn is_expected((name, kind): &(&'static str, ErrorKind)) -> bool {
    *name == "update" && matches!(kind, ErrorKind::Conflict | ErrorKind::Ended)
}
