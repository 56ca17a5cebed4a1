//! Failures of a SQLite file: a lock of another process, read-only mode, and a killed writer.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use session_conformance::fixtures::{limit, logged_out, record_at};
use session_core::prelude::*;
use session_sqlx::SqliteStore;
use sqlx::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

use super::LONG_DEADLINE;
use super::calls::{CALLS, assert_fails, assert_recovers, assert_works, call, given, within};
use super::lab::{Lab, on_connect, pool_of};

const READS: [&str; 3] = ["load", "list", "stats"];

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_connection_writes_to_is_unavailable_to_writers() {
    const BUSY: Duration = Duration::from_millis(200);
    let Some(lab) = Lab::<Sqlite>::start().await else { return };
    let store = lab.store(on_connect(pool_of(3), "PRAGMA busy_timeout = 200"));
    assert_works(&store).await;
    let session = given(&store, "dora").await;
    let mut other = lab.raw().await;
    other.run("BEGIN IMMEDIATE").await;
    for name in CALLS {
        let began = Instant::now();
        let result = within(LONG_DEADLINE, name, call(&store, name, &session)).await;
        if READS.contains(&name) {
            // The other connection still holds the lock.
            result.unwrap();
        } else {
            let error = assert_fails(name, ErrorKind::Unavailable, result);
            assert!(error.to_string().ends_with("(the database is locked by another connection)"), "{error}");
            assert!(began.elapsed() >= BUSY, "{name} did not wait");
        }
    }
    other.run("ROLLBACK").await;
    assert_works(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_file_is_unavailable_to_writers() {
    let Some(lab) = Lab::<Sqlite>::start().await else { return };
    let session = given(&lab.store(pool_of(1)), "dora").await;
    let options = SqliteConnectOptions::new().filename(lab.folder().join("sessions.db")).read_only(true);
    assert_only_reads(&lab.store_on(SqlitePoolOptions::new().connect_lazy_with(options)), &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_writable_again_is_written() {
    let Some(lab) = Lab::<Sqlite>::start().await else { return };
    let is_read_only = Arc::new(AtomicBool::new(false));
    let pragma = |flag: &AtomicBool| match flag.load(Ordering::SeqCst) {
        true => "PRAGMA query_only = 1",
        false => "PRAGMA query_only = 0",
    };
    let [new, used] = [(); 2].map(|()| Arc::clone(&is_read_only));
    let pool = pool_of(3).after_connect(move |connection, _| {
        let sql = pragma(&new);
        Box::pin(async move { sqlx::raw_sql(sql).execute(connection).await.map(drop) })
    });
    let store = lab.store(pool.before_acquire(move |connection, _| {
        let sql = pragma(&used);
        Box::pin(async move { sqlx::raw_sql(sql).execute(connection).await.map(|_| true) })
    }));
    let session = given(&store, "dora").await;
    is_read_only.store(true, Ordering::SeqCst);
    assert_only_reads(&store, &session).await;
    is_read_only.store(false, Ordering::SeqCst);
    assert_recovers(&store).await;
}

async fn assert_only_reads(store: &SqliteStore, session: &Arc<SessionRecord>) {
    for name in CALLS {
        let result = within(LONG_DEADLINE, name, call(store, name, session)).await;
        if READS.contains(&name) {
            result.unwrap();
        } else {
            let error = assert_fails(name, ErrorKind::Unavailable, result);
            assert!(error.to_string().ends_with("(the database is read-only)"), "{name}: {error}");
        }
    }
}

/// Passes the file to the process that is killed.
const FILE: &str = "SESSION_TEST_KILLED_FILE";

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions.db");
    for _ in 0..3 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "faults::sqlite::the_process_that_is_killed", "--nocapture"])
            .env(FILE, &file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut acknowledged = Vec::new();
        for line in output.lines().map_while(Result::ok) {
            let Some((what, id)) =
                line.rsplit_once("acknowledged ").map(|(_, rest)| rest.split_once(' ').unwrap())
            else {
                continue;
            };
            acknowledged.push((what == "end", id.parse::<SessionId>().unwrap()));
            if acknowledged.len() == 200 {
                // Most likely in the middle of the next write.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= 200, "only {} writes", acknowledged.len());

        let store = open(&file);
        store.verify().await.unwrap();
        let url = format!("sqlite://{}", file.display());
        let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
        let check: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
        assert_eq!(check, "ok");
        for (is_end, id) in acknowledged {
            let found = store.load(&[id]).await.unwrap();
            assert_eq!(found.len(), 1, "a session was lost");
            assert!(!is_end || found[0].ended().is_some(), "an end was lost");
        }
        assert_works(&store).await;
    }
}

/// Writes until it is killed. Does nothing when it runs as a test.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_is_killed() {
    let Some(file) = env::var_os(FILE) else { return };
    let store = open(file.as_ref());
    store.migrate().await.unwrap();
    for number in 0_u64.. {
        let session = Arc::new(record_at("ann", number % 1_000_000));
        let limit = limit(3, OnExceed::EndOldest, number);
        for evicted in store.create(Arc::clone(&session), Some(&limit)).await.unwrap() {
            println!("acknowledged end {}", evicted.id);
        }
        println!("acknowledged create {}", session.id);
        if number % 5 == 0 {
            store.end(&EndScope::id(session.id), &logged_out(number), Timestamp::MAX).await.unwrap();
            println!("acknowledged end {}", session.id);
        }
    }
}

fn open(file: &std::path::Path) -> SqliteStore {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    SqliteStore::new(SqlitePoolOptions::new().max_connections(3).connect_lazy_with(options))
}
