//! The store while its database fails. Each test starts its own real server and makes calls as an
//! application does: each with a deadline, after which its future is dropped.
//!
//! "There is no such session" and "the database cannot answer now" must never be confused. So while
//! a database is down, every call ends in time with a transient error. When it is back, the same
//! store on the same pool works again.

mod calls;
mod cancel;
mod commit;
mod contention;
mod damage;
mod disk;
mod lab;
mod limits;
mod load;
mod network;
mod pgbouncer;
mod pool;
mod schema;
mod server;
mod sqlite;
mod target;

use std::time::Duration;

/// The deadline that a manager gives an operation.
const DEADLINE: Duration = Duration::from_secs(2);

/// The deadline of calls in tests that do not measure time, because processors are shared.
const LONG_DEADLINE: Duration = Duration::from_secs(20);

/// How long after its deadline a call may return, because processors are shared.
const LATE: Duration = Duration::from_secs(5);

/// The limit for a test.
const TEST_LIMIT: Duration = Duration::from_secs(100);

/// The time in which a store must work again after its database does.
const RECOVERY: Duration = Duration::from_secs(5);

/// Runs a case on a PostgreSQL and a MariaDB server, each started for the test.
macro_rules! on_each_server {
    ($($case:ident),+ $(,)?) => {
        $crate::faults::on!(postgres sqlx::Postgres: $($case),+);
        $crate::faults::on!(mysql sqlx::MySql: $($case),+);
    };
}

/// Runs a case on those, and on a SQLite file.
macro_rules! on_each_database {
    ($($case:ident),+ $(,)?) => {
        $crate::faults::on_each_server!($($case),+);
        $crate::faults::on!(sqlite sqlx::Sqlite: $($case),+);
    };
}

macro_rules! on {
    ($module:ident $database:ty: $($case:ident),+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    let case = super::$case::<$database>();
                    tokio::time::timeout($crate::faults::TEST_LIMIT, case).await.expect("the test finishes");
                }
            )+
        }
    };
}

use {on, on_each_database, on_each_server};
