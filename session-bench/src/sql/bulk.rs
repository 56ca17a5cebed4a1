//! Large amounts: a backlog of expired sessions, and a user with many sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_conformance::fixtures;
use session_core::limits::MAX_BATCH;
use session_core::{Actor, EndReason, EndScope, Ended, SessionStore, Timestamp, UserId};
use session_sqlx::SqlStore;
use sqlx::{Pool, Postgres};
use tokio::task::JoinHandle;

use super::store::SqlScene;
use crate::stored::new;

/// A method of ending expired sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sweep {
    /// In batches, as the manager does.
    Batches,
    /// With one raw statement for all of them.
    OneStatement,
}

/// Returns the 99th percentile of the sign-in time while `backlog` expired sessions are swept.
pub fn sign_in_p99(scene: &SqlScene<Postgres>, backlog: u64, sweep: Sweep) -> Duration {
    insert_expired(scene, backlog);
    scene.block_on(async {
        let sweeper = match sweep {
            Sweep::Batches => tokio::spawn(in_batches(Arc::clone(scene.store()))),
            Sweep::OneStatement => tokio::spawn(at_once(scene.pool().clone())),
        };
        let started = Instant::now();
        let times = sign_ins(scene, &sweeper).await;
        let ended = sweeper.await.expect("a sweep that ends");
        assert_eq!(ended, backlog, "the whole backlog");
        let (count, took, p99) = (times.len(), started.elapsed(), p99(times));
        eprintln!(
            "{sweep:?}: {ended} ended in {took:?}, meanwhile {count} sign-ins, 99th percentile {p99:?}"
        );
        p99
    })
}

async fn in_batches(store: Arc<SqlStore<Postgres>>) -> u64 {
    let mut ended = 0;
    loop {
        let batch = store.expire(fixtures::at(0), MAX_BATCH).await.expect("a sweep").len();
        ended += batch as u64;
        if batch < MAX_BATCH {
            return ended;
        }
    }
}

async fn at_once(pool: Pool<Postgres>) -> u64 {
    let sql = "UPDATE sessions SET ended_reason = 'absolute_timeout', ended_by = 'system', ended_at = deadline_at, \
               revision = revision + 1 WHERE deadline_at <= $1";
    let query = sqlx::query(sql).bind(fixtures::at(0).as_millis());
    query.execute(&pool).await.expect("an update").rows_affected()
}

/// Inserts anonymous sessions that have expired, each at another time.
fn insert_expired(scene: &SqlScene<Postgres>, count: u64) {
    let sql = "INSERT INTO sessions (id, kind, created_at, revision, authenticated_at, last_seen_at, expires_at, \
               remembered, data) SELECT gen_random_uuid(), 'web', $1 - n, 1, $1 - n, $1 - n, $1 - n + 1, \
               false, '' FROM generate_series(1, $2) AS n";
    let long_ago = fixtures::NOW.as_millis() - 1;
    scene.block_on(async {
        // A session id is a UUID of version 7.
        let sql = sql
            .replace("gen_random_uuid()", "overlay(gen_random_uuid()::text PLACING '7' FROM 15 FOR 1)::uuid");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(long_ago).bind(count.cast_signed());
        query.execute(scene.pool()).await.expect("an insert");
        sqlx::query("ANALYZE sessions").execute(scene.pool()).await.expect("statistics");
    });
}

async fn sign_ins(scene: &SqlScene<Postgres>, until: &JoinHandle<u64>) -> Vec<Duration> {
    let mut times = Vec::new();
    while !until.is_finished() {
        let record = Arc::new(new(1_000_000 + times.len() as u64));
        let started = Instant::now();
        scene.store().create(record, None).await.expect("a sign-in");
        times.push(started.elapsed());
    }
    times
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
}

/// Ends this many sessions of one user. Returns the time it took, and the time of one raw `UPDATE`
/// of as many sessions.
pub fn end_many(scene: &SqlScene<Postgres>, sessions: u64) -> (Duration, Duration) {
    let insert = async |user: &UserId| {
        let sql = "INSERT INTO sessions (id, user_id, kind, created_at, revision, authenticated_at, last_seen_at, expires_at, \
                   remembered, data) SELECT id, $1, 'web', $2 + n, 1, $2 + n, $2 + n, $2 + n + 1000000, false, '' \
                   FROM UNNEST($3) WITH ORDINALITY AS ids (id, n)";
        let id = |_| uuid::Uuid::from_bytes(*fixtures::id_at(fixtures::NOW, Some(user)).as_bytes());
        let ids: Vec<_> = (0..sessions).map(id).collect();
        let query = sqlx::query(sql).bind(user.as_str()).bind(fixtures::NOW.as_millis()).bind(ids);
        query.execute(scene.pool()).await.expect("an insert");
    };
    scene.block_on(async {
        let (many, raw) = (fixtures::user("many"), fixtures::user("raw"));
        insert(&many).await;
        insert(&raw).await;
        let ended = Ended::new(EndReason::RevokedByAdmin, fixtures::at(1), Actor::System);
        let started = Instant::now();
        let count = scene.store().end(&EndScope::User(many), &ended, Timestamp::MAX).await.expect("an end").len();
        let ours = started.elapsed();
        assert_eq!(count as u64, sessions);
        let started = Instant::now();
        let update = "UPDATE sessions SET ended_reason = 'revoked_by_admin', ended_by = 'system', ended_at = $2, \
                      revision = revision + 1, secret = NULL, refresh = NULL, data = '' \
                      WHERE user_id = $1 AND ended_at IS NULL RETURNING id";
        let query = sqlx::query(update).bind(raw.as_str()).bind(fixtures::at(1).as_millis());
        assert_eq!(query.fetch_all(scene.pool()).await.expect("rows").len() as u64, sessions);
        (ours, started.elapsed())
    })
}
