//! The conformance suite on MongoDB, and the tests of MongoDB's own behaviour.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod damage;
mod faults;
mod indexes;
mod plans;
mod settings;
mod support;
mod values;

mod conformance {
    use crate::support::fresh;

    session_conformance::session_store_suite!(mongodb, env "SESSION_TEST_MONGODB_URL", |url: String| async move {
        fresh(&url, |builder| builder).await
    });

    session_conformance::session_store_suite!(
        mongodb_standalone,
        env "SESSION_TEST_MONGODB_STANDALONE_URL",
        |url: String| async move { fresh(&url, |builder| builder).await }
    );
}
