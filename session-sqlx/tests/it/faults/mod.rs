//! What the store does when its database fails. Servers are real ones that each test starts for itself, and calls are made as an
//! application makes them: each with a deadline, after which its future is dropped.
//!
//! Two answers must never be mixed up: "there is no such session" and "nobody can tell now". So while a database is away, every call
//! ends in time with a transient error; and when it is back, the same store on the same pool works again.

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

/// What a manager gives one operation.
const DEADLINE: Duration = Duration::from_secs(2);

/// For calls that are not about time: processors are shared.
const PATIENT: Duration = Duration::from_secs(20);

/// How late an answer may be after its deadline, where processors are shared.
const LATE: Duration = Duration::from_secs(5);

/// In which a case comes to its end.
const AT_MOST: Duration = Duration::from_secs(100);

/// In which a store works again once its database does.
const RECOVERY: Duration = Duration::from_secs(5);

/// Runs a case on a PostgreSQL and on a MariaDB of its own.
macro_rules! on_each_server {
    ($($case:ident),+ $(,)?) => {
        $crate::faults::on!(postgres sqlx::Postgres: $($case),+);
        $crate::faults::on!(mysql sqlx::MySql: $($case),+);
    };
}

/// Runs a case on these, and on a file of SQLite.
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
                    tokio::time::timeout($crate::faults::AT_MOST, case).await.expect("it hangs");
                }
            )+
        }
    };
}

use {on, on_each_database, on_each_server};
