//! Stores, caches and buses with deliberate mistakes, which prove that the suites work.
//!
//! Each [`Bug`] is one mistake in an otherwise correct [`MapStore`](crate::reference::MapStore),
//! each [`CacheBug`] one in a [`MapCache`](crate::reference::MapCache), each [`TenantBug`] one in
//! the separation of two stores, and each [`BusBug`] one in a bus. Most of them were found in
//! published session stores; each of the others motivated a case. Every bug names the case that
//! must catch it, and the tests of this crate assert that the case does.
//!
//! The module is public because it is useful to read before writing a backend, and for other tests
//! that claim to find mistakes: those of an application, or a suite for a decorator.
//!
//! ```
//! use session_conformance::broken::{BrokenStore, Bug};
//! use session_conformance::{CASE_TIME_LIMIT, Form, Harness, store_cases};
//!
//! let bug = Bug::UpsertingUpdate;
//! let case = store_cases().iter().find(|case| case.name() == bug.caught_by()).unwrap();
//! let open = async move { Harness::in_form(BrokenStore::new(bug), Form::Bare) };
//! let verdict = case.check(CASE_TIME_LIMIT, open);
//! assert!(verdict.is_err());
//! ```

mod bugs;
mod bus;
mod cache;
mod content;
mod create;
mod create_both;
mod end;
mod list;
mod load;
mod locks;
mod store;
mod sweep;
mod tenants;
mod touch;
mod update;

pub use bugs::{Bug, BusBug, CacheBug, TenantBug};
pub use bus::{BrokenBus, BrokenNetwork};
pub use cache::BrokenCache;
pub use store::BrokenStore;
pub use tenants::BrokenTenant;
