//! The cases with two stores: tenants of one server that do not see each other.
//!
//! A tenant is a store of its own: a table, a key prefix or a collection. The factory of a suite is
//! called twice for such a case, so both stores are on the server that the suite tests. Then one of
//! them works, and the other must stay as it was, whatever the ids, users and devices are.

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
