//! The shared cache in PostgreSQL: its conformance suite, foreign writes, expiry and failures of
//! the server.

mod faults;
mod lab;
mod rows;
mod schema;

mod conformance {
    use super::lab::fresh_cache;

    session_conformance::session_cache_suite!(
        postgres_cache,
        env "SESSION_TEST_POSTGRES_URL",
        |url: String| async move { fresh_cache(&url).await },
    );
}
