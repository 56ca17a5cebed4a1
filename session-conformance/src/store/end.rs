//! `end`: what it clears, what it keeps, and that the first end is final.

use std::time::Duration;

use session_core::limits::MAX_BATCH;
use session_core::{Actor, EndReason, EndScope, Ended, ErrorKind, Revision, Timestamp, UserId};

use super::{
    ago, apply, assert_empty, assert_ended, assert_same, assert_still_ended, assert_stored, end, given_all,
    given_ended, ids_of, live, several, sign_out, stats,
};
use crate::fixtures::{NOW, at, full, id_at, logged_out, record, touch, user};
use crate::harness::{Harness, assert_kind};

/// An end clears data, session secret and refresh state and raises the revision. Everything else
/// stays as the history of the sign-in: name, label, client, device, authentications, times. The
/// result equals the stored row.
pub async fn end_clears_secrets_and_data_and_keeps_the_history(h: Harness) {
    let before = full("ann");
    h.given(&before).await;
    let ended = Ended::new(EndReason::RevokedByUser, at(77), Actor::User(user("ann")));
    let returned = end(&h, &EndScope::id(before.id), &ended).await;
    assert_ended(&h, &returned, &before, &ended).await;
    let after = h.loaded(before.id).await;
    assert!(after.data.is_empty() && after.secret.is_none() && after.refresh.is_none());
    assert_eq!(after.label, before.label);
}

/// The result shows the row as the last touch and the last update left it, not as the caller once
/// read it.
pub async fn end_returns_what_the_last_writes_left(h: Harness) {
    let mut record = full("ann");
    h.given(&record).await;
    record.label = Some("renamed".to_owned());
    record.revision = h.update(&record, Revision::FIRST).await.expect("update");
    let seen = touch(record.id, 40);
    assert_eq!(apply(&h, std::slice::from_ref(&seen)).await, 1);
    assert!(record.touch(&seen, NOW));
    let returned = end(&h, &EndScope::User(user("ann")), &logged_out(50)).await;
    assert_ended(&h, &returned, &record, &logged_out(50)).await;
}

/// Every reason is read back unchanged.
pub async fn end_keeps_every_reason(h: Harness) {
    for (millis, reason) in (1..).zip(EndReason::ALL) {
        let record = record("ann");
        let ended = Ended::new(*reason, at(millis), Actor::System);
        given_ended(&h, &record, &ended).await;
        assert_still_ended(&h, record.id, &ended).await;
    }
}

/// Every actor is read back unchanged, regardless of its name. Catches a pair of kind and name that
/// is split at the wrong place.
pub async fn end_keeps_every_actor(h: Harness) {
    let name = |name: &str| name.parse::<UserId>().expect("a name");
    let long = "é".repeat(127);
    let names = ["ann", "system", "user:ann", "admin:", ":", " ", "a,b", "{\"by\":1}", "Žofie 🦊", &long];
    let mut actors = vec![Actor::System];
    actors.extend(names.iter().flat_map(|text| [Actor::User(name(text)), Actor::Admin(name(text))]));
    for actor in actors {
        let record = record("ann");
        let ended = Ended::new(EndReason::RevokedByAdmin, at(3), actor);
        given_ended(&h, &record, &ended).await;
        assert_still_ended(&h, record.id, &ended).await;
    }
}

/// The first end is final: a second end returns nothing and changes neither reason, time, actor nor
/// revision.
pub async fn end_of_an_ended_session_keeps_the_first_end(h: Harness) {
    let record = full("ann");
    let first = Ended::new(EndReason::RefreshReuse, at(10), Actor::System);
    given_ended(&h, &record, &first).await;
    for (millis, reason) in [(5, EndReason::LoggedOut), (20, EndReason::RevokedByAdmin)] {
        let second = Ended::new(reason, at(millis), Actor::Admin(user("root")));
        assert_eq!(h.end(&EndScope::id(record.id), &second).await, []);
        assert_eq!(h.end(&EndScope::User(user("ann")), &second).await, []);
    }
    assert_stored(&h, &record.into_ended(first)).await;
}

/// Ending unknown sessions is no error, and leaves no tombstone.
pub async fn end_of_unknown_ids_is_no_error_and_creates_nothing(h: Harness) {
    let unknown = record("ann");
    assert_eq!(h.end(&EndScope::Ids(vec![unknown.id, id_at(at(0), None)]), &logged_out(1)).await, []);
    assert_eq!(h.end(&EndScope::User(user("ann")), &logged_out(1)).await, []);
    assert_empty(&h).await;
    h.given(&unknown).await;
}

/// A session whose id occurs several times in a call ends once and is returned once.
pub async fn end_of_one_id_twice_returns_it_once(h: Harness) {
    let record = full("ann");
    h.given(&record).await;
    let returned = end(&h, &EndScope::Ids(vec![record.id; 3]), &logged_out(1)).await;
    assert_ended(&h, &returned, &record, &logged_out(1)).await;
}

/// The result holds the sessions that this call ended: none that ended before, none that is
/// unknown.
pub async fn end_returns_only_what_this_call_ended(h: Harness) {
    let (active, over) = (several("ann", 3), record("ann"));
    given_all(&h, &active).await;
    given_ended(&h, &over, &logged_out(1)).await;
    let unknown = record("ann");
    let mut asked = ids_of(&active);
    asked.extend([over.id, unknown.id]);
    let later = Ended::new(EndReason::RevokedByAdmin, at(2), Actor::System);
    assert_eq!(h.end(&EndScope::Ids(asked), &later).await, ids_of(&active));
    assert_still_ended(&h, over.id, &logged_out(1)).await;
}

/// A session past its deadline that no sweep has ended yet ends with the given reason.
pub async fn end_reaches_expired_sessions(h: Harness) {
    let mut records = [full("ann"), full("ann"), full("ann")];
    records[0].expires_at = at(1);
    records[1].idle_timeout = Some(Duration::from_millis(1));
    given_all(&h, &records).await;
    let returned = end(&h, &EndScope::id(records[0].id), &logged_out(100)).await;
    assert_ended(&h, &returned, &records[0], &logged_out(100)).await;
    assert_eq!(h.end(&EndScope::User(user("ann")), &logged_out(101)).await, ids_of(&records[1..]));
    assert_still_ended(&h, records[1].id, &logged_out(101)).await;
}

/// The caller determines the time of the end, even if it is before the creation or the last use.
pub async fn end_keeps_a_time_before_the_beginning(h: Harness) {
    let mut record = full("ann");
    record.last_seen_at = at(500);
    h.given(&record).await;
    let early = Ended::new(EndReason::PolicyDenied, ago(1), Actor::System);
    let returned = end(&h, &EndScope::id(record.id), &early).await;
    assert_ended(&h, &returned, &record, &early).await;
}

/// Ending no ids ends nothing. Catches an empty list that means "all".
pub async fn end_of_no_ids_ends_nothing(h: Harness) {
    let record = full("ann");
    h.given(&record).await;
    assert_eq!(h.end(&EndScope::Ids(Vec::new()), &logged_out(1)).await, []);
    assert_stored(&h, &record).await;
}

/// A full batch ends completely, and every record is returned with its own content.
pub async fn end_of_500_ids_ends_all_of_them(h: Harness) {
    let records = several("ann", MAX_BATCH);
    given_all(&h, &records).await;
    let mut returned = end(&h, &EndScope::Ids(ids_of(&records)), &logged_out(1)).await;
    returned.sort_unstable_by_key(|record| record.created_at);
    assert_eq!(returned.len(), records.len());
    for (returned, before) in returned.iter().zip(records) {
        assert_same(returned, &before.into_ended(logged_out(1)));
    }
}

/// A batch of one id too many is refused, and nothing ends.
pub async fn end_of_501_ids_is_invalid_and_ends_nothing(h: Harness) {
    let record = full("ann");
    h.given(&record).await;
    let scope = EndScope::Ids(vec![record.id; MAX_BATCH + 1]);
    assert_kind(h.store().end(&scope, &logged_out(1), Timestamp::MAX).await, ErrorKind::Invalid);
    assert_stored(&h, &record).await;
}

/// The batch limit does not apply to a user: all of their sessions end, however many.
pub async fn end_of_a_user_with_501_sessions_ends_all_of_them(h: Harness) {
    let records = several("ann", MAX_BATCH + 1);
    given_all(&h, &records).await;
    assert_eq!(h.end(&EndScope::User(user("ann")), &logged_out(1)).await, ids_of(&records));
    assert_eq!(live(&h, "ann", 1).await, []);
}

/// Every later query reflects an end at once: revocation depends on this.
pub async fn end_is_seen_at_once_by_every_query(h: Harness) {
    for round in 1..=8 {
        let record = full("ann");
        h.given(&record).await;
        assert_eq!(sign_out(&h, record.id, 1).await, [record.id]);
        assert!(h.loaded(record.id).await.ended().is_some());
        assert_eq!(live(&h, "ann", 0).await, []);
        let counted = stats(&h, 0).await;
        assert_eq!((counted.live, counted.ended.get(&EndReason::LoggedOut)), (0, Some(&round)));
    }
}
