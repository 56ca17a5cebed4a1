//! Invalid requests: refused before anything is read or written.

use std::sync::Arc;
use std::time::Duration;

use session_core::limits::{
    MAX_AUTH_EVENTS, MAX_LABEL, MAX_LIFETIME, MAX_SPENT, MAX_TEXT, MAX_USER_AGENT, MAX_USER_ID,
};
use session_core::{
    AuthEvent, AuthMethod, ClientInfo, ErrorKind, OnExceed, PreviousSecret, RefreshState, Revision,
    RotationSalt, SessionKind, SessionRecord, Successor, Timestamp,
};

use super::{ago, assert_empty, assert_stored, given_ended, roomy};
use crate::fixtures::{anonymous, at, full, hash, limit, logged_out, record, user};
use crate::harness::{Harness, assert_kind};

type Break = fn(&mut SessionRecord);

fn client(record: &mut SessionRecord) -> &mut ClientInfo {
    Arc::make_mut(&mut record.client)
}

fn spend(record: &mut SessionRecord, count: usize) {
    let mut refresh = RefreshState::new(hash(1), at(9_000));
    refresh.spent = vec![hash(2); count];
    let mut previous = PreviousSecret::new(hash(3), RotationSalt::from_bytes([7; 32]), at(1));
    previous.successor = Successor::Presented(at(2));
    refresh.secret.previous = Some(previous);
    record.refresh = Some(refresh);
}

/// One violation of each rule of `SessionRecord::check` for an active record.
const RULES: &[(&str, Break)] = &[
    ("an id of another user's shard", |r| {
        let shard = r.id.shard();
        r.user_id = ('a'..='z').map(|name| user(&name.to_string())).find(|other| other.shard() != shard);
    }),
    ("an end at the creation", |r| r.expires_at = r.created_at),
    ("an end before the creation", |r| r.expires_at = ago(1)),
    ("a lifetime above 400 days", |r| {
        r.expires_at = r.created_at.saturating_add(MAX_LIFETIME + Duration::from_millis(1));
    }),
    ("an endless lifetime", |r| r.expires_at = Timestamp::MAX),
    ("a last-seen time before the creation", |r| r.last_seen_at = ago(1)),
    ("an idle timeout of zero", |r| r.idle_timeout = Some(Duration::ZERO)),
    ("an idle timeout below a millisecond", |r| r.idle_timeout = Some(Duration::from_nanos(999_999))),
    ("an idle timeout of 1.5 ms", |r| r.idle_timeout = Some(Duration::from_micros(1_500))),
    ("an idle timeout above 400 days", |r| r.idle_timeout = Some(MAX_LIFETIME + Duration::from_millis(1))),
    ("an external session with a secret", |r| (r.kind, r.refresh) = (SessionKind::External, None)),
    ("an external session with a refresh token", |r| (r.kind, r.secret) = (SessionKind::External, None)),
    ("17 authentications", |r| r.auth = vec![AuthEvent::new(AuthMethod::Sms, at(1)); MAX_AUTH_EVENTS + 1]),
    ("9 spent secrets", |r| spend(r, MAX_SPENT + 1)),
    ("an empty user name", |r| r.username = Some(String::new())),
    ("a user name of 256 bytes", |r| r.username = Some("u".repeat(MAX_USER_ID + 1))),
    ("a user name with NUL", |r| r.username = Some("a\0b".to_owned())),
    ("an empty label", |r| r.label = Some(String::new())),
    ("a label of 101 characters", |r| r.label = Some("é".repeat(MAX_LABEL + 1))),
    ("a label with NUL", |r| r.label = Some("\0".to_owned())),
    ("a user agent of 513 bytes", |r| client(r).user_agent = Some("u".repeat(MAX_USER_AGENT + 1))),
    ("a user agent with NUL", |r| client(r).user_agent = Some("a\0".to_owned())),
    ("a brand of 301 bytes", |r| client(r).device.brand = Some("b".repeat(MAX_TEXT + 1))),
    ("a city of 301 bytes", |r| client(r).geo.city = Some("c".repeat(MAX_TEXT + 1))),
    ("a city with NUL", |r| client(r).geo.city = Some("a\0".to_owned())),
    ("a country code in lower case", |r| client(r).geo.country_code = Some("de".to_owned())),
    ("a country code of three letters", |r| client(r).geo.country_code = Some("DEU".to_owned())),
    ("a last-seen country code in lower case", |r| r.last_client.country_code = Some("de".into())),
    ("an IPv4 address written as IPv6", |r| client(r).ip = "::ffff:192.0.2.1".parse().ok()),
    ("coordinates beyond the pole", |r| client(r).geo.coordinates = Some((90.1, 0.0))),
    ("coordinates that are no numbers", |r| client(r).geo.coordinates = Some((f64::NAN, f64::INFINITY))),
];

/// `create` refuses everything that `SessionRecord::check` refuses, with and without a limit, and
/// stores nothing.
pub async fn create_refuses_what_check_refuses(h: Harness) {
    for (rule, break_rule) in RULES {
        let mut invalid = full("ann");
        break_rule(&mut invalid);
        for limit in [None, Some(&roomy())] {
            let answer = h.store().create(Arc::new(invalid.clone()), limit).await;
            assert!(answer.as_ref().is_err_and(|e| e.kind() == ErrorKind::Invalid), "{rule}: {answer:?}");
        }
    }
    assert_empty(&h).await;
}

/// `update` refuses it as well, and the stored record stays unchanged.
pub async fn update_refuses_what_check_refuses(h: Harness) {
    let before = full("ann");
    h.given(&before).await;
    for (rule, break_rule) in RULES {
        let mut invalid = before.clone();
        break_rule(&mut invalid);
        let answer = h.update(&invalid, Revision::FIRST).await;
        assert!(answer.as_ref().is_err_and(|e| e.kind() == ErrorKind::Invalid), "{rule}: {answer:?}");
    }
    assert_stored(&h, &before).await;
}

/// A new record must not be ended.
pub async fn create_of_an_ended_record_is_invalid(h: Harness) {
    let mut ended = record("ann").into_ended(logged_out(1));
    for revision in [ended.revision, Revision::FIRST] {
        ended.revision = revision;
        assert_kind(h.store().create(Arc::new(ended.clone()), None).await, ErrorKind::Invalid);
    }
    assert!(h.load(ended.id).await.is_none());
}

/// A new record must have the first revision.
pub async fn create_of_a_later_revision_is_invalid(h: Harness) {
    let mut record = record("ann");
    for later in [2, 3, i64::MAX.unsigned_abs()] {
        record.revision = Revision::new(later).expect("a revision");
        assert_kind(h.store().create(Arc::new(record.clone()), None).await, ErrorKind::Invalid);
    }
    assert!(h.load(record.id).await.is_none());
}

/// A limit needs a user whose sessions count. Catches anonymous sessions counted as those of one
/// user.
pub async fn create_of_an_anonymous_session_under_a_limit_is_invalid(h: Harness) {
    let (first, second) = (anonymous(), anonymous());
    h.given(&first).await;
    for on_exceed in [OnExceed::EndOldest, OnExceed::EndLeastRecentlySeen, OnExceed::Refuse] {
        assert_kind(h.create(&second, &limit(1, on_exceed, 1)).await, ErrorKind::Invalid);
        assert_kind(h.create(&second, &limit(9, on_exceed, 1)).await, ErrorKind::Invalid);
    }
    assert!(h.load(second.id).await.is_none());
    assert_stored(&h, &first).await;
}

/// An invalid request is refused regardless of the stored state: the check comes before the lookup.
pub async fn invalid_requests_are_refused_before_anything_is_read(h: Harness) {
    let (stored, over, unknown) = (full("ann"), full("ann"), full("ann"));
    h.given(&stored).await;
    given_ended(&h, &over, &logged_out(1)).await;
    for record in [&stored, &over, &unknown] {
        let mut invalid = record.clone();
        invalid.label = Some(String::new());
        for expected in [1, 2, 9] {
            let expected = Revision::new(expected).expect("a revision");
            assert_kind(h.update(&invalid, expected).await, ErrorKind::Invalid);
        }
        assert_kind(h.store().create(Arc::new(invalid), None).await, ErrorKind::Invalid);
    }
}

/// The largest values that the rules allow are kept. Catches a store with lower limits of its own.
pub async fn records_at_the_edge_of_the_rules_are_kept(h: Harness) {
    let mut largest = full("ann");
    largest.expires_at = largest.created_at.saturating_add(MAX_LIFETIME);
    largest.idle_timeout = Some(MAX_LIFETIME);
    largest.username = Some("u".repeat(MAX_USER_ID));
    largest.label = Some("🦊".repeat(MAX_LABEL));
    largest.auth = vec![AuthEvent::new(AuthMethod::Other("m".repeat(64)), at(1)); MAX_AUTH_EVENTS];
    spend(&mut largest, MAX_SPENT);
    client(&mut largest).user_agent = Some("u".repeat(MAX_USER_AGENT));
    let device = &mut client(&mut largest).device;
    for text in [&mut device.brand, &mut device.model, &mut device.os, &mut device.os_version] {
        *text = Some("d".repeat(MAX_TEXT));
    }
    for text in [&mut device.browser, &mut device.browser_version] {
        *text = Some("b".repeat(MAX_TEXT));
    }
    let geo = &mut client(&mut largest).geo;
    for text in [&mut geo.country, &mut geo.region, &mut geo.city] {
        *text = Some("é".repeat(MAX_TEXT / 2));
    }
    largest.data = vec![0xf7; h.store().capabilities().max_payload].into();
    h.given(&largest).await;
    assert_stored(&h, &largest).await;
    largest.revision = h.update(&largest, Revision::FIRST).await.expect("update");
    assert_stored(&h, &largest).await;
}

/// A store's capabilities are the same every time: a name for logs, and bounds above zero.
pub async fn capabilities_do_not_change(h: Harness) {
    let before = h.store().capabilities();
    assert!(!before.name.is_empty() && before.max_payload > 0);
    h.given(&record("ann")).await;
    assert_eq!(h.store().capabilities(), before);
}
