//! The suites that say whether a session store is right.
//!
//! A store of sessions looks simple and is not: it has to win races against sign-outs, keep times to the millisecond, tell "not there"
//! from "cannot tell", and compare user names byte by byte on databases that would rather not. The contract is written at
//! [`SessionStore`](session_core::SessionStore). This crate is the same contract as code: one named case for each promise, so that every
//! backend behaves alike and you know when yours does.
//!
//! # Testing a store
//! Implement [`SessionStore`](session_core::SessionStore), with [`reference::MapStore`] as the example to read. Then write one file,
//! `tests/it/main.rs`:
//!
//! ```
//! mod conformance {
//!     use session_conformance::session_store_suite;
//! #   use session_conformance::reference::MapStore as MyStore;
//!
//!     session_store_suite!(my_store, || async { MyStore::default() });
//! }
//! ```
//!
//! That is all. The macro makes one `#[test]` of every case,
//! `conformance::my_store::create_keeps_every_field` and so on, so that failures have names, tests
//! run in parallel, and `cargo test limit` runs what its name says. The closure is called for every
//! case, and gives a fresh, empty store each time.
//!
//! Every case runs in three [forms](Form): on the store itself, through `Arc<dyn SessionStore>`, and inside of a
//! [decorator](session_core::TracedStore). It runs on two threads, because a race needs two. After [60 seconds](CASE_TIME_LIMIT) it counts as
//! hanging.
//!
//! No case can be left out. If one cannot hold on your database, open an issue before you write
//! around it.
//!
//! # Tenants
//! A tenant is a store of its own. For the cases called `tenants_are_apart_...` the closure is
//! called twice, and the suite checks that what one store does is not seen by the other: neither a
//! session of the same id, nor a user of the same name. If the stores name a
//! [place](session_core::Capabilities::place), the two places must differ.
//!
//! # Reading a failure
//! ```text
//! thread 'touch_never_moves_back, bare' panicked at session-conformance/src/store/touch.rs:44:5:
//! assertion `left == right` failed
//!   left: 1
//!  right: 0
//!
//! thread 'conformance::my_store::touch_never_moves_back' panicked at session-conformance/src/suite.rs:67:13:
//! my_store, case touch_never_moves_back, bare: assertion `left == right` failed
//! ```
//!
//! The name says which promise was broken, and in which form. What the case did is its function of the same name in
//! [`store::cases`], whose first sentence is the promise. [`broken`] shows what typically makes it fail.
//!
//! # Testing a store that needs a server
//! ```
//! mod conformance {
//!     use session_conformance::session_store_suite;
//! #   use session_conformance::reference::MapStore;
//! #   struct MyStore;
//! #   impl MyStore {
//! #       async fn in_new_schema(_url: &str) -> session_core::Result<MapStore> { Ok(MapStore::default()) }
//! #   }
//!
//!     session_store_suite!(my_store, env "SESSION_TEST_MY_STORE_URL", |url: String| async move {
//!         MyStore::in_new_schema(&url).await.expect("a server at SESSION_TEST_MY_STORE_URL")
//!     });
//! }
//! ```
//!
//! The variable is read when a test runs. If it is not set, the test prints `skipped my_store::...: SESSION_TEST_MY_STORE_URL is not set`
//! and passes, so that `cargo test` works without servers. In CI set `SESSION_TEST_REQUIRE=my_store` (names of suites, separated by commas, or
//! `all`): then an unset variable is a failure, and a server that was forgotten cannot look like a success.
//!
//! Give each call of the closure a key prefix, a schema or a file of its own. The cases of one
//! suite run side by side, and a case counts everything that is stored. If your stores can share a
//! database, let them share it here, too: then the cases about tenants test how they are kept
//! apart. Open connections inside of the closure: every run has its own runtime, which ends with
//! it.
//!
//! # Testing a cache
//! [`session_cache_suite!`] does the same for a [`SessionCache`](session_core::SessionCache). Its example is [`reference::MapCache`].
//!
//! # Testing a bus
//! [`session_bus_suite!`] does the same for an [`InvalidationBus`](session_core::InvalidationBus). Most buses are built on
//! `session_runtime::bus`, whose in-process bus is the example.
//!
//! # Without the macros
//! [`store_cases`], [`tenant_cases`] and [`cache_cases`] are the same cases as values, for another
//! test harness, a report, or a decorator for which some of them cannot hold. They need tokio for
//! races and time limits, but the store may bring any runtime of its own.
//!
//! ```
//! use session_conformance::reference::MapStore;
//! use session_conformance::{Form, Harness, store_cases};
//!
//! # let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
//! # runtime.block_on(async {
//! for case in store_cases().iter().filter(|case| case.name().starts_with("stats_")) {
//!     println!("{}", case.name());
//!     case.run(Harness::in_form(MapStore::default(), Form::Shared)).await;
//! }
//! # });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What the suites do not test
//! They cannot stop your server. Whether an outage is reported as [`Unavailable`](session_core::ErrorKind::Unavailable), a slow answer as
//! [`Timeout`](session_core::ErrorKind::Timeout), and unreadable rows as [`Corrupt`](session_core::ErrorKind::Corrupt), needs tests of your own.
//! For everything that *uses* a store, [`faults`] makes one that fails as you wish: with an error, late, never, or after it did what it was
//! asked to.
//!
//! # Where things are
//! | module | what |
//! |---|---|
//! | [`store`], [`store::tenants`], [`cache`] | the cases |
//! | [`fixtures`] | the sessions that cases work with |
//! | [`mod@reference`] | a store and a cache that are right, to read |
//! | [`broken`] | stores and caches that are wrong, each with the case that catches it |
//! | [`faults`] | a store that fails when it is told to |
//!
//! # Versions
//! A case is added when a promise turns out to be untested. That can happen in a minor release, so a minor release can show you a mistake
//! that was there before. Cases are renamed or removed in major releases only.
#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a case fails by panicking")]

pub mod broken;
pub mod bus;
pub mod cache;
mod case;
pub mod faults;
pub mod fixtures;
mod harness;
mod macros;
pub mod reference;
pub mod store;
mod suite;

pub use bus::{BusHarness, BusNetwork, bus_cases};
pub use cache::{CacheHarness, cache_cases};
pub use case::{BusCase, CASE_TIME_LIMIT, CacheCase, Case, CaseFailure, StoreCase, TenantCase};
pub use harness::{Form, Harness, assert_kind, ids};
pub use store::tenants::{TenantHarness, tenant_cases};

static STORE_CASES: &[StoreCase] = __for_each_store_case!(__store_table);

/// Returns all cases of [`session_store_suite!`] that need one store, in the order of the suite.
/// [`tenant_cases`] are the others.
#[must_use]
pub fn store_cases() -> &'static [StoreCase] {
    STORE_CASES
}

/// What the macros call.
#[doc(hidden)]
pub mod __private {
    pub use crate::suite::{
        run_bus, run_bus_from_env, run_cache, run_cache_from_env, run_store, run_store_from_env,
    };
}
