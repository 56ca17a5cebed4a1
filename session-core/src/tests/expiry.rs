use std::time::Duration;

use proptest::prelude::*;

use super::{NOW, after, record};
use crate::limits::MAX_LIFETIME;
use crate::{EndReason, Expiry, ExpiryPolicy, Lifetime, SessionStatus, Timestamp};

#[test]
fn a_session_is_live_until_a_millisecond_before_its_deadline() {
    let mut record = record();
    record.idle_timeout = Some(Duration::from_millis(100));
    assert!(record.is_live(after(99)));
    assert!(!record.is_live(after(100)));
    assert_eq!(record.expiry(after(100)).deadline().reason, EndReason::IdleTimeout);
    assert_eq!(record.status(after(100)), SessionStatus::Expired);
}

#[test]
fn use_moves_the_idle_deadline_and_never_the_absolute_end() {
    let mut record = record();
    record.idle_timeout = Some(Duration::from_secs(1_800));
    record.last_seen_at = after(3_599_000);
    let deadline = record.expiry(after(3_599_000)).deadline();
    assert_eq!((deadline.at, deadline.reason), (record.expires_at, EndReason::AbsoluteTimeout));
}

#[test]
fn a_page_can_warn_before_the_end() {
    let record = record();
    let soon = |millis| record.expiry(after(millis)).expires_soon(after(millis), Duration::from_secs(60));
    assert!(!soon(3_539_999));
    assert!(soon(3_540_000));
    assert!(!soon(3_600_000), "an expired session does not expire soon");
}

#[test]
fn lifetimes_outside_of_the_limits_are_refused() {
    for bad in [
        Duration::ZERO,
        Duration::from_nanos(999_999),
        MAX_LIFETIME + Duration::from_millis(1),
        Duration::MAX,
    ] {
        assert!(Lifetime::new(None, bad).is_err(), "{bad:?}");
        assert!(Lifetime::new(Some(bad), Duration::from_secs(1)).is_err(), "{bad:?}");
    }
    assert!(Lifetime::new(Some(Duration::from_millis(1)), MAX_LIFETIME).is_ok());
}

#[test]
fn fractions_of_a_millisecond_are_dropped() {
    let lifetime = Lifetime::new(None, Duration::from_nanos(1_999_999)).unwrap();
    assert_eq!(lifetime.absolute(), Duration::from_millis(1));
}

#[test]
fn the_presets_match_the_nist_figures() {
    let figures = |policy: ExpiryPolicy| {
        let lifetime = policy.lifetime(true);
        (lifetime.absolute().as_secs(), lifetime.idle().map(|idle| idle.as_secs()))
    };
    assert_eq!(figures(ExpiryPolicy::nist_aal1()), (30 * 86_400, None));
    assert_eq!(figures(ExpiryPolicy::nist_aal2()), (86_400, Some(3_600)));
    assert_eq!(figures(ExpiryPolicy::nist_aal3()), (12 * 3_600, Some(900)));
}

#[test]
fn a_deadline_beyond_the_range_does_not_wrap() {
    let mut record = record();
    record.last_seen_at = Timestamp::MAX;
    record.idle_timeout = Some(MAX_LIFETIME);
    assert_eq!(record.expiry(NOW).deadline().at, record.expires_at);
}

proptest! {
    #[test]
    fn a_touch_never_moves_the_deadline_past_the_absolute_end(idle in 1_u64..10_000_000, seen in 0_u64..10_000_000, at in 0_u64..20_000_000) {
        let mut record = record();
        record.idle_timeout = Some(Duration::from_millis(idle));
        record.last_seen_at = after(seen);
        let expiry = record.expiry(after(at));
        prop_assert!(expiry.deadline().at <= record.expires_at);
        prop_assert_eq!(expiry.is_live(), after(at) < expiry.deadline().at);
        prop_assert_eq!(matches!(expiry, Expiry::Live(_)), at < 3_600_000.min(seen + idle));
    }
}
