//! Large amounts at once: a backlog of expired sessions, and a user with very many.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_conformance::fixtures;
use session_core::limits::MAX_BATCH;
use session_core::{Actor, EndReason, EndScope, Ended, SessionStore, UserId};
use sqlx::Postgres;

use super::store::{SqlScene, new};

/// Sign-ins whose time is measured, before and during the sweep at least.
const SIGN_INS: usize = 1_000;

/// What a sweep did to sign-ins.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Sweep {
    /// How many sessions it ended.
    pub ended: u64,
    /// How long it took.
    pub took: Duration,
    /// 99 of 100 sign-ins were faster, while nothing else went on.
    pub p99_alone: Duration,
    /// The same during the sweep.
    pub p99_during: Duration,
    /// How many sign-ins there were during it.
    pub sign_ins: usize,
}

/// Sweeps a backlog of that many expired sessions, in batches as the manager does, while somebody signs in all the time.
pub fn sweep(scene: &SqlScene<Postgres>, backlog: u64) -> Sweep {
    insert_expired(scene, backlog);
    scene.block_on(async {
        let mut step = 1_000_000;
        let alone = sign_ins(scene, &mut step, |count| count < SIGN_INS).await;
        let store = Arc::clone(scene.store());
        let started = Instant::now();
        let sweeper = tokio::spawn(async move {
            let mut ended = 0;
            loop {
                let batch = store.expire(fixtures::at(0), MAX_BATCH).await.expect("a sweep").len();
                ended += batch as u64;
                if batch < MAX_BATCH {
                    return (ended, started.elapsed());
                }
            }
        });
        let during = sign_ins(scene, &mut step, |_| !sweeper.is_finished()).await;
        let (ended, took) = sweeper.await.expect("a sweep that ends");
        let sign_ins = during.len();
        Sweep { ended, took, p99_alone: p99(alone), p99_during: p99(during), sign_ins }
    })
}

/// Anonymous sessions that expired a while ago, each at another time.
fn insert_expired(scene: &SqlScene<Postgres>, count: u64) {
    let sql = "INSERT INTO sessions (id, kind, created_at, revision, authenticated_at, last_seen_at, expires_at, \
               remembered, data) SELECT gen_random_uuid(), 'web', $1 - n, 1, $1 - n, $1 - n, $1 - n + 1, \
               false, '' FROM generate_series(1, $2) AS n";
    let long_ago = fixtures::NOW.as_millis() - 1;
    scene.block_on(async {
        // The version of a session's id is 7.
        let sql = sql
            .replace("gen_random_uuid()", "overlay(gen_random_uuid()::text PLACING '7' FROM 15 FOR 1)::uuid");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(long_ago).bind(count.cast_signed());
        query.execute(scene.pool()).await.expect("room");
        sqlx::query("ANALYZE sessions").execute(scene.pool()).await.expect("statistics");
    });
}

async fn sign_ins(scene: &SqlScene<Postgres>, step: &mut u64, more: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while more(times.len()) {
        *step += 1;
        let record = Arc::new(new(*step));
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

/// Ends so many sessions of one user, and returns how long that took, and how long one raw `UPDATE` of as many takes.
pub fn end_many(scene: &SqlScene<Postgres>, sessions: u64) -> (Duration, Duration) {
    let insert = async |user: &UserId| {
        let sql = "INSERT INTO sessions (id, user_id, kind, created_at, revision, authenticated_at, last_seen_at, expires_at, \
                   remembered, data) SELECT id, $1, 'web', $2 + n, 1, $2 + n, $2 + n, $2 + n + 1000000, false, '' \
                   FROM UNNEST($3) WITH ORDINALITY AS ids (id, n)";
        let id = |_| uuid::Uuid::from_bytes(*fixtures::id_at(fixtures::NOW, Some(user)).as_bytes());
        let ids: Vec<_> = (0..sessions).map(id).collect();
        let query = sqlx::query(sql).bind(user.as_str()).bind(fixtures::NOW.as_millis()).bind(ids);
        query.execute(scene.pool()).await.expect("room");
    };
    scene.block_on(async {
        let (many, raw) = (fixtures::user("many"), fixtures::user("raw"));
        insert(&many).await;
        insert(&raw).await;
        let ended = Ended::new(EndReason::RevokedByAdmin, fixtures::at(1), Actor::System);
        let started = Instant::now();
        let count = scene.store().end(&EndScope::User(many), &ended).await.expect("an end").len();
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
