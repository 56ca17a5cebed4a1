//! The conformance suite on every database, and tests of SQL-specific behaviour.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod bus;
mod cache;
mod faults;
mod migrations;
mod plans;
mod settings;
mod support;

mod conformance {
    use crate::support;

    session_conformance::session_store_suite!(postgres, env "SESSION_TEST_POSTGRES_URL", |url: String| async move {
        support::postgres(&url).await
    });

    session_conformance::session_store_suite!(mysql, env "SESSION_TEST_MYSQL_URL", |url: String| async move {
        support::mysql(&url).await
    });

    session_conformance::session_store_suite!(sqlite_file, support::sqlite_file);

    session_conformance::session_store_suite!(sqlite_memory, support::sqlite_memory);
}
