//! The suites that verify a session store.
//!
//! A session store looks simple and is not. It has to win races against sign-outs, keep times to
//! the millisecond, distinguish "does not exist" from "cannot be determined", and compare user
//! names byte by byte, even on databases that compare differently by default.
//! [`SessionStore`](session_core::SessionStore) documents the contract. This crate is the same
//! contract as code: one named case for each promise, so that all backends behave alike, and you
//! can verify that yours does.
//!
//! # Testing a store
//! Implement [`SessionStore`](session_core::SessionStore). An embedded database implements five
//! methods of [`Rows`](session_core::Rows), and has the rest: `examples/custom-backend` is a
//! complete store on redb in 150 lines. [`reference::MapStore`] is an example that does everything
//! by itself. Then write one file, `tests/it/main.rs`:
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
//! Nothing else is needed. The macro creates one `#[test]` for every case,
//! `conformance::my_store::create_keeps_every_field` and so on. So failures have names, tests run
//! in parallel, and `cargo test limit` runs the cases about limits. The closure is called for every
//! case, and returns a fresh, empty store each time.
//!
//! Every case runs in three [forms](Form): on the store itself, through `Arc<dyn SessionStore>`,
//! and inside a [decorator](session_core::TracedStore). It runs on two threads, because a race
//! needs two. After [60 seconds](CASE_TIME_LIMIT) it counts as hanging.
//!
//! No case can be omitted. If a case cannot hold on your database, open an issue before you work
//! around it.
//!
//! # Tenants
//! A tenant is a store of its own. For the cases named `tenants_are_apart_...`, the suite calls the
//! closure twice and checks that neither store sees the changes of the other: neither of a session
//! with the same id, nor of a user with the same name. If the stores name a
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
//! The name identifies the broken promise and the form. [`store::cases`] contains the case as a
//! function of the same name, whose first sentence is the promise. [`broken`] shows typical
//! mistakes that make it fail.
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
//! The variable is read when a test runs. If it is not set, the test prints `skipped my_store::...:
//! SESSION_TEST_MY_STORE_URL is not set` and passes, so that `cargo test` works without servers. In
//! CI, set `SESSION_TEST_REQUIRE=my_store` (names of suites, separated by commas, or `all`). Then
//! an unset variable is a failure, and a missing server cannot look like a success.
//!
//! Give each call of the closure a separate key prefix, schema or file. The cases of one suite run
//! in parallel, and a case counts everything that is stored. If your stores can share a database,
//! let them share it here, too: then the cases about tenants test that separation. Open connections
//! inside the closure, because every run has its own runtime, and connections must not outlive it.
//!
//! # Testing a cache
//! [`session_cache_suite!`] does the same for a [`SessionCache`](session_core::SessionCache), with
//! [`reference::MapCache`] as the example.
//!
//! # Testing a bus
//! [`session_bus_suite!`] does the same for an [`InvalidationBus`](session_core::InvalidationBus).
//! Most buses are built on `session_runtime::bus`, whose in-process bus is the example.
//!
//! # Without the macros
//! [`store_cases`], [`tenant_cases`], [`cache_cases`] and [`bus_cases`] return the same cases as
//! values, for another test harness, a report, or a decorator for which some of them cannot hold.
//! The cases need tokio for races and time limits, but the store may use any runtime.
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
//! The suites cannot stop your server. Write your own tests that an outage is reported as
//! [`Unavailable`](session_core::ErrorKind::Unavailable), a slow answer as
//! [`Timeout`](session_core::ErrorKind::Timeout), and an unreadable row as
//! [`Corrupt`](session_core::ErrorKind::Corrupt). To test code that *uses* a store, [`faults`]
//! wraps a store and makes it fail on demand: with an error, late, never, or after the operation
//! took effect.
//!
//! # Where things are
//! | module | what |
//! |---|---|
//! | [`store`], [`store::tenants`], [`cache`] | the cases |
//! | [`fixtures`] | the sessions that the cases use |
//! | [`mod@reference`] | a correct store and a correct cache, as examples |
//! | [`broken`] | incorrect stores, caches and buses, each with the case that catches it |
//! | [`faults`] | a store that fails on demand |
//!
//! # Versions
//! A case is added when a promise turns out to be untested. That can happen in a minor release, so
//! a minor release can reveal a mistake that existed before. Cases are renamed or removed in major
//! releases only.
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

/// Returns the cases of [`session_store_suite!`] that need one store, in the order of the suite.
/// [`tenant_cases`] returns the other cases.
#[must_use]
pub fn store_cases() -> &'static [StoreCase] {
    STORE_CASES
}

/// Functions that the macros call.
#[doc(hidden)]
pub mod __private {
    pub use crate::suite::{
        run_bus, run_bus_from_env, run_cache, run_cache_from_env, run_store, run_store_from_env,
    };
}
