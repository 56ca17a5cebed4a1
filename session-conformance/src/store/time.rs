//! Time: an argument, kept to the millisecond, independent of the store's own clock.

use std::time::Duration;

use session_core::limits::MAX_LIFETIME;
use session_core::{
    Actor, AuthEvent, AuthMethod, EndReason, EndScope, Ended, LastClient, ListQuery, PreviousSecret,
    RefreshState, RotationSalt, SecretState, SessionRecord, StateFilter, Timestamp, Touch,
};

use super::{
    apply, apply_at, assert_ended, assert_stored, end, expire, expired, expiring, found, given_all, idle,
    ids_of, live, page, purge, sign_out,
};
use crate::fixtures::{NOW, at, full, hash, id_at, logged_out, record, touch, user};
use crate::harness::{Harness, ids};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn beginning(created_at: Timestamp, lasting: Duration) -> SessionRecord {
    let ann = user("ann");
    let expires_at = created_at.saturating_add(lasting);
    let mut record = SessionRecord::new(id_at(created_at, Some(&ann)), created_at, expires_at);
    record.user_id = Some(ann);
    record
}

/// Takes a session through its life up to its deadline, with calls whose results depend on the
/// time.
async fn assert_life_cycle(h: &Harness, record: &SessionRecord) {
    let deadline = record.expires_at;
    let last = Timestamp::from_millis(deadline.as_millis() - 1);
    h.given(record).await;
    assert_stored(h, record).await;
    let live_at = |now| ListQuery::default().with_user(user("ann")).with_state(StateFilter::Live(now));
    assert_eq!(found(h, live_at(last)).await, [record.id]);
    assert_eq!(found(h, live_at(deadline)).await, []);
    assert!(h.store().expire(last, 10).await.expect("expire").is_empty());

    let seen = Touch::new(record.id, last, LastClient::default());
    assert_eq!(apply_at(h, std::slice::from_ref(&seen), last).await, 1);
    let mut used = record.clone();
    assert!(used.touch(&seen, last));
    assert_stored(h, &used).await;
    let swept = h.store().expire(deadline, 10).await.expect("expire");
    assert_ended(h, &swept, &used, &expired(EndReason::AbsoluteTimeout, deadline)).await;
    assert_eq!(h.store().purge(deadline, 10).await.expect("purge"), 0);
}

/// Every time of a record is read back as the same millisecond. Catches seconds, floats and local
/// time zones.
pub async fn every_time_keeps_its_millisecond(h: Harness) {
    for offset in [0_u64, 1, 499, 500, 877, 999] {
        let time = |part: u64| at(offset + part);
        let mut record = full("ann");
        record.created_at = time(0);
        record.last_seen_at = time(1);
        record.authenticated_at = time(2);
        record.expires_at = time(3_600_003);
        record.idle_timeout = Some(Duration::from_millis(600_000 + offset));
        record.auth =
            vec![AuthEvent::new(AuthMethod::Sms, time(4)), AuthEvent::new(AuthMethod::Sms, time(5))];
        let mut secret = SecretState::new(hash(1));
        secret.expires_at = Some(time(9));
        secret.previous = Some(PreviousSecret::new(hash(2), RotationSalt::from_bytes([1; 32]), time(6)));
        record.secret = Some(secret.clone());
        let mut refresh = RefreshState::new(hash(3), time(7));
        refresh.secret = secret;
        record.refresh = Some(refresh);
        h.given(&record).await;
        assert_stored(&h, &record).await;
        let ended = Ended::new(EndReason::LoggedOut, time(8), Actor::System);
        let returned = end(&h, &EndScope::id(record.id), &ended).await;
        assert_ended(&h, &returned, &record, &ended).await;
    }
}

/// Time zero is a valid time. Catches 0 treated as "none".
pub async fn sessions_of_the_epoch_are_kept(h: Harness) {
    let mut record = beginning(Timestamp::EPOCH, DAY);
    record.auth = vec![AuthEvent::new(AuthMethod::Totp, Timestamp::EPOCH)];
    let mut secret = SecretState::new(hash(1));
    let salt = RotationSalt::from_bytes([0; 32]);
    secret.previous = Some(PreviousSecret::new(hash(0), salt, Timestamp::EPOCH));
    record.secret = Some(secret);
    assert_life_cycle(&h, &record).await;
}

/// Times before 1970 are kept, in fields that may hold them.
pub async fn times_before_the_epoch_are_kept(h: Harness) {
    let early = Timestamp::from_millis(-62_135_596_800_001);
    let mut record = full("ann");
    record.authenticated_at = Timestamp::from_millis(-1);
    record.auth = vec![AuthEvent::new(AuthMethod::Federated, early)];
    h.given(&record).await;
    assert_stored(&h, &record).await;
    let ended = Ended::new(EndReason::UserInactive, Timestamp::from_millis(-1_001), Actor::System);
    let returned = end(&h, &EndScope::id(record.id), &ended).await;
    assert_ended(&h, &returned, &record, &ended).await;
    assert_eq!(purge(&h, Timestamp::from_millis(-1_001), 10).await, 0);
    assert_eq!(purge(&h, Timestamp::from_millis(-1_000), 10).await, 1);
}

/// A session of long ago is live at its own time: the database's clock and time to live do not
/// decide.
pub async fn sessions_of_long_ago_live_in_their_own_time(h: Harness) {
    assert_life_cycle(&h, &beginning(Timestamp::from_millis(981_173_106_789), DAY)).await;
}

/// Sessions live past January 2038, when seconds since 1970 exceed 31 bits.
pub async fn sessions_live_beyond_the_year_2038(h: Harness) {
    assert_life_cycle(&h, &beginning(Timestamp::from_millis(2_147_483_000_500), DAY)).await;
}

/// Sessions live past February 2106, when seconds since 1970 exceed 32 bits.
pub async fn sessions_live_beyond_the_year_2106(h: Harness) {
    assert_life_cycle(&h, &beginning(Timestamp::from_millis(4_294_967_000_500), DAY)).await;
}

/// Sessions on the last day of the year 9999 end like any other.
pub async fn sessions_live_until_the_end_of_the_year_9999(h: Harness) {
    assert_life_cycle(&h, &beginning(Timestamp::from_millis(253_402_214_399_999), DAY)).await;
}

/// 400 days are the longest lifetime and the longest idle timeout. Catches milliseconds in 32 bits,
/// which overflow after 50 days.
pub async fn lifetimes_of_400_days_are_kept(h: Harness) {
    let mut record = beginning(NOW, MAX_LIFETIME);
    record.idle_timeout = Some(MAX_LIFETIME);
    assert_life_cycle(&h, &record).await;
    let mut record = beginning(NOW, MAX_LIFETIME);
    record.idle_timeout = Some(MAX_LIFETIME - Duration::from_millis(1));
    h.given(&record).await;
    let deadline = NOW.saturating_add(MAX_LIFETIME - Duration::from_millis(1));
    let swept = h.store().expire(deadline, 10).await.expect("expire");
    assert_ended(&h, &swept, &record, &expired(EndReason::IdleTimeout, deadline)).await;
}

/// One millisecond is the shortest lifetime and idle timeout; it means neither "for ever" nor "not
/// at all".
pub async fn lifetimes_of_one_millisecond_are_kept(h: Harness) {
    let (brief, idle) = (beginning(NOW, Duration::from_millis(1)), idle("ann", 1));
    given_all(&h, &[brief.clone(), idle.clone()]).await;
    assert_stored(&h, &idle).await;
    assert_eq!(live(&h, "ann", 0).await, ids_of([&brief, &idle]));
    assert!(expire(&h, 0, 10).await.is_empty());
    assert_eq!(live(&h, "ann", 1).await, []);
    assert_eq!(ids(&expire(&h, 1, 10).await), ids_of([&brief, &idle]));
}

/// The expiry of a session's token does not affect the session itself.
pub async fn the_ends_of_tokens_are_not_the_end_of_the_session(h: Harness) {
    let (mut longer, mut shorter) = (full("ann"), full("ann"));
    (longer.idle_timeout, longer.expires_at) = (None, at(1_000));
    for (record, end) in [(&mut longer, at(900_000_000)), (&mut shorter, at(10))] {
        let mut refresh = RefreshState::new(hash(1), end);
        refresh.secret.expires_at = Some(end);
        record.secret = Some(refresh.secret.clone());
        record.refresh = Some(refresh);
    }
    given_all(&h, &[longer.clone(), shorter.clone()]).await;
    assert_eq!(live(&h, "ann", 1_000).await, [shorter.id]);
    assert_eq!(ids(&expire(&h, 1_000, 10).await), [longer.id]);
}

/// Queries accept the first and the last possible time. Catches sums and differences that overflow.
pub async fn extreme_times_can_be_asked_about(h: Harness) {
    let records = [full("ann"), record("ann")];
    given_all(&h, &records).await;
    let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::MAX);
    let live_at = |now| ListQuery::default().with_state(StateFilter::Live(now));
    assert_eq!(found(&h, live_at(first)).await, ids_of(&records));
    assert_eq!(found(&h, live_at(last)).await, []);
    assert_eq!(found(&h, ListQuery::default().with_created_since(first)).await, ids_of(&records));
    assert_eq!(found(&h, ListQuery::default().with_created_since(last)).await, []);
    for (now, live) in [(first, 2), (last, 0)] {
        let counted = h.store().stats(now).await.expect("stats");
        assert_eq!((counted.live, counted.expired), (live, 2 - live));
    }
    assert!(h.store().expire(first, 10).await.expect("expire").is_empty());
    assert_eq!(apply(&h, &[Touch::new(records[0].id, last, LastClient::default())]).await, 0);
    assert_eq!(ids(&h.store().expire(last, 10).await.expect("expire")), ids_of(&records));
    assert_eq!(h.store().purge(first, 10).await.expect("purge"), 0);
    assert_eq!(h.store().purge(last, 10).await.expect("purge"), 2);
}

/// A call from a node whose clock lags is evaluated by its own time, after a call from one whose
/// clock is ahead.
pub async fn callers_with_different_clocks_are_answered_by_their_own(h: Harness) {
    let records = expiring("ann", 2);
    given_all(&h, &records).await;
    assert!(expire(&h, 999, 10).await.is_empty());
    assert_eq!(live(&h, "ann", 300_000).await, []);
    assert_eq!(live(&h, "ann", 500).await, ids_of(&records));
    assert_eq!(expire(&h, 300_000, 1).await.len(), 1);
    assert!(expire(&h, 500, 10).await.is_empty());
    let query = ListQuery::default().with_state(StateFilter::Live(at(500)));
    let left = page(&h, &query).await.records[0].id;
    assert_eq!(apply(&h, &[touch(left, 600)]).await, 1);
    assert_eq!(sign_out(&h, left, 550).await, [left]);
    assert_eq!(h.loaded(left).await.ended(), Some(&logged_out(550)));
}
