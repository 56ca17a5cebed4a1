//! The shared cache in PostgreSQL: its conformance suite, and what it does when others write, time passes, or the server fails.

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
