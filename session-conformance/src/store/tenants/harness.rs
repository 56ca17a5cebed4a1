use session_core::limits::MAX_PAGE;
use session_core::{ListQuery, SessionId, SessionRecord, SessionStore, StoreStats};

use crate::fixtures::{at, device_id, full, user};
use crate::store::{Records, load_all, page, stats};
use crate::{Form, Harness};

/// Two empty stores from the same factory: two tenants of one server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TenantHarness {
    /// One tenant.
    pub first: Harness,
    /// Another tenant.
    pub second: Harness,
}

impl TenantHarness {
    /// Wraps two empty stores in the given form.
    #[must_use]
    pub fn in_form(first: impl SessionStore, second: impl SessionStore, form: Form) -> Self {
        Self { first: Harness::in_form(first, form), second: Harness::in_form(second, form) }
    }

    /// Returns the tenants in both orders: each once as the one that works, and once as the one
    /// that must stay unchanged.
    pub(super) fn both_ways(&self) -> [(&Harness, &Harness); 2] {
        [(&self.first, &self.second), (&self.second, &self.first)]
    }
}

/// Creates two sessions of one id, one for each tenant, with the same user, device and times but
/// different content.
pub(super) fn twins(name: &str, number: u64) -> [SessionRecord; 2] {
    let (user, device) = (user(name), device_id());
    let id = SessionId::derive("tenants", &number.to_be_bytes(), Some(&user));
    ["of the first tenant", "of the second tenant"].map(|label| {
        let mut record = full(name);
        (record.id, record.device_id) = (id, Some(device));
        (record.label, record.data) = (Some(label.to_owned()), label.as_bytes().into());
        record
    })
}

/// Stores twins of a user with both tenants, and returns those of `here`.
pub(super) async fn given_twins(
    here: &Harness,
    there: &Harness,
    name: &str,
    numbers: std::ops::Range<u64>,
) -> Vec<SessionRecord> {
    let mut theirs = Vec::new();
    for number in numbers {
        let [mine, other] = twins(name, number);
        here.given(&mine).await;
        there.given(&other).await;
        theirs.push(mine);
    }
    theirs
}

/// All sessions and counts of a tenant.
#[derive(Debug, PartialEq)]
pub(super) struct Holdings {
    records: Records,
    stats: StoreStats,
}

impl Holdings {
    pub(super) async fn of(h: &Harness) -> Self {
        let all = page(h, &ListQuery::default().with_limit(MAX_PAGE)).await.records;
        let ids: Vec<_> = all.iter().map(|record| record.id).collect();
        Self { records: load_all(h, &ids).await, stats: stats(h, 5).await }
    }

    /// Asserts that a tenant still holds exactly this.
    pub(super) async fn assert_unchanged(&self, h: &Harness) {
        assert!(Self::of(h).await == *self, "a tenant changed or sees sessions of another tenant");
    }
}

/// Stores sessions of two users with a tenant, in every state, and returns its holdings.
pub(super) async fn given_sessions_in_every_state(h: &Harness) -> Holdings {
    let (mut past, over) = (full("ann"), full("bob"));
    past.expires_at = at(3);
    for record in [&past, &over, &full("bob"), &crate::fixtures::anonymous()] {
        h.given(record).await;
    }
    crate::store::sign_out(h, over.id, 2).await;
    Holdings::of(h).await
}
