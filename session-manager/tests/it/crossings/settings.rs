//! Settings that cannot work together.

use std::time::Duration;

use session_core::limits::MAX_DATA;
use session_core::rules::{IpBinding, Outcome, RuleSet, UserAgentBinding};
use session_core::{AuthMethod, DataLimits, ErrorKind, ExpiryPolicy, Lifetime};
use session_manager::{
    NewSession, RecordIp, RecordUserAgent, Recording, RefreshPolicy, SessionManager, SessionManagerBuilder,
    Tiers,
};
use session_memory::MemoryStore;

use crate::tiers::lab::Cache;
use crate::world::kind;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn settings_that_cannot_work_together_are_refused_by_name() {
    type Change = fn(SessionManagerBuilder) -> SessionManagerBuilder;
    let cases: [(&str, Change); 12] = [
        ("rotation interval is below the grace", |b| b.with_rotation(10 * SECOND)),
        ("lives longer than its refresh token", |b| {
            b.with_refresh(RefreshPolicy::default().with_access(2 * SECOND).with_refresh(SECOND))
        }),
        ("lower the touch flush below the idle timeout", |b| {
            let lifetime = Lifetime::new(Some(5 * SECOND), 100 * SECOND).unwrap();
            b.with_touch_flush(5 * SECOND).with_expiry(ExpiryPolicy::default().with_standard(lifetime))
        }),
        ("the retention must be at least", |b| b.with_retention(Duration::ZERO)),
        ("lower the cache timeout", |b| {
            let tiers = Tiers::memory().with_scope("test").with_cache(Cache::new("redis"));
            b.with_tiers(tiers.with_cache_timeout(Duration::from_millis(1_001)))
        }),
        ("nested deeper than 120 levels", |b| b.with_data_limits(DataLimits::default().with_max_depth(121))),
        ("clock skew is at most 5 min", |b| b.with_clock_skew(301 * SECOND)),
        ("4 KiB for the library", |b| b.with_data_limits(DataLimits::default().with_max_bytes(MAX_DATA + 1))),
        ("less is kept of a client than it needs", |b| {
            let exact = RuleSet::none().with(IpBinding::exact(Outcome::Deny));
            b.with_recording(Recording::new(RecordIp::Network, RecordUserAgent::Full)).with_rules(exact)
        }),
        ("less is kept of a client than it needs", |b| {
            let exact = RuleSet::none().with(IpBinding::exact(Outcome::Deny));
            b.with_recording(Recording::new(RecordIp::Nothing, RecordUserAgent::Full)).with_rules(exact)
        }),
        ("less is kept of a client than it needs", |b| {
            let browser = RuleSet::none().with(UserAgentBinding::new(Outcome::Challenge));
            b.with_recording(Recording::new(RecordIp::Full, RecordUserAgent::Parsed)).with_rules(browser)
        }),
        ("1 to 100 attempts", |b| b.with_sign_in_attempts(std::num::NonZeroU32::new(101).unwrap())),
    ];
    for (rule, change) in cases {
        let refused = change(SessionManager::builder(MemoryStore::default())).build();
        let error = refused.err().unwrap_or_else(|| panic!("accepted: {rule}"));
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(rule), "{error} does not name: {rule}");
    }
}

#[tokio::test]
async fn the_deepest_data_that_is_accepted_reads_back() {
    let limits = DataLimits::default().with_max_depth(120);
    let manager = SessionManager::builder(MemoryStore::default()).with_data_limits(limits).build().unwrap();
    let session = manager.create(NewSession::anonymous()).await.unwrap().session;
    let nested = |depth: u32| (1..depth).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    session.insert("deep", &nested(121)).unwrap();
    assert_eq!(kind(session.save().await), ErrorKind::Invalid);
    session.insert("deep", &nested(120)).unwrap();
    session.save().await.unwrap();
    assert_eq!(session.get::<serde_json::Value>("deep").unwrap(), Some(nested(120)));
}

#[tokio::test]
async fn limits_of_a_few_bytes_leave_every_function_usable() {
    let limits = DataLimits::default().with_max_bytes(24).with_max_depth(1).with_max_elements(1);
    let manager = SessionManager::builder(MemoryStore::default()).with_data_limits(limits).build().unwrap();
    let ann = || NewSession::for_user("ann".parse().unwrap()).with_auth(AuthMethod::Password);
    let pending = manager.begin_sign_in(ann()).await.unwrap().session;
    assert_eq!(manager.count_attempt(&pending).await.unwrap(), 4);
    let session = manager.complete_sign_in(&pending, ann()).await.unwrap().session;
    session.insert("k", &1).unwrap();
    session.save().await.unwrap();
    let code = manager.begin_transfer(&session, false).await.unwrap().expose().to_string();
    let moved = manager.redeem_transfer(&code, NewSession::anonymous()).await.unwrap().session;
    assert_eq!(moved.get::<u8>("k").unwrap(), Some(1));
    manager.create(ann().replacing(&moved)).await.unwrap();
}

#[tokio::test]
async fn rules_that_suit_what_is_kept_are_accepted() {
    let networks = RuleSet::none().with(IpBinding::prefix(24, 48, Outcome::Deny).unwrap());
    let kept = Recording::new(RecordIp::Network, RecordUserAgent::Nothing);
    SessionManager::builder(MemoryStore::default())
        .with_recording(kept)
        .with_rules(networks)
        .build()
        .unwrap();
}
