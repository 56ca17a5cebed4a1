//! The cases with two stores: tenants of one server that do not affect each other.
//!
//! A tenant is a store of its own: a table, a key prefix or a collection. For such a case, the
//! suite calls the factory twice, so both stores are on the server under test. One of them then
//! works, and the other must stay unchanged, regardless of ids, users and devices.

pub mod cases;
mod harness;
mod list;

pub use harness::TenantHarness;

use crate::TenantCase;

static CASES: &[TenantCase] = crate::__for_each_tenant_case!(__tenant_table);

/// Returns the cases of [`session_store_suite!`](crate::session_store_suite) that need two stores,
/// in the order of the suite.
#[must_use]
pub fn tenant_cases() -> &'static [TenantCase] {
    CASES
}
