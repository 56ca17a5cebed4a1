//! `update`: what it writes and what it keeps.

use std::sync::Arc;
use std::time::Duration;

use session_core::{
    Actor, AuthEvent, AuthMethod, ClientInfo, EndReason, EndScope, Ended, LastClient, ListQuery,
    PreviousSecret, RefreshState, Revision, RotationSalt, SecretState, SessionKind, SessionRecord,
    StateFilter,
};

use super::{
    apply, assert_same, assert_stored, end, expire, found, given_all, ids_of, live, neighbour, page, sign_out,
};
use crate::fixtures::{anonymous, at, device_id, full, hash, logged_out, record, touch, user};
use crate::harness::{Harness, ids};

/// Changes every field that an update may change.
fn changed(before: &SessionRecord) -> SessionRecord {
    let mut record = before.clone();
    record.username = Some("another name".to_owned());
    record.authenticated_at = at(20);
    record.last_seen_at = at(21);
    record.expires_at = at(5_400_022);
    record.idle_timeout = Some(Duration::from_millis(900_023));
    record.remembered = !before.remembered;
    record.credential_version = Some(24);
    let mut secret = SecretState::new(hash(41));
    secret.expires_at = Some(at(1_800_028));
    secret.previous = Some(PreviousSecret::new(hash(42), RotationSalt::from_bytes([43; 32]), at(25)));
    record.secret = Some(secret);
    let mut refresh = RefreshState::new(hash(44), at(9_000_026));
    refresh.generation = 4;
    refresh.spent = vec![hash(45), hash(46), hash(47)];
    record.refresh = Some(refresh);
    record.auth = vec![AuthEvent::new(AuthMethod::Passkey, at(27))];
    record.client = Arc::new(ClientInfo::new("203.0.113.9".parse().ok(), Some("Another/2.0")));
    record.last_client = LastClient::new("203.0.113.10".parse().ok(), Some("ES".into()));
    record.device_id = Some(device_id());
    record.label = Some("bedroom phone".to_owned());
    record.data = Arc::from(&b"\x01{\"cart\":[]}"[..]);
    record
}

/// An update returns the next revision and stores it.
pub async fn update_returns_the_next_revision_and_stores_it(h: Harness) {
    let mut record = record("ann");
    h.given(&record).await;
    record.label = Some("new".to_owned());
    let revision = h.update(&record, Revision::FIRST).await.expect("update");
    assert_eq!(revision, Revision::FIRST.next());
    record.revision = revision;
    assert_stored(&h, &record).await;
}

/// Every field except the immutable ones is replaced. Catches a column that is missing from the
/// update statement.
pub async fn update_writes_every_field_that_may_change(h: Harness) {
    let before = full("ann");
    h.given(&before).await;
    let mut after = changed(&before);
    after.revision = h.update(&after, Revision::FIRST).await.expect("update");
    assert_stored(&h, &after).await;
}

/// Fields that are absent from the new record are cleared. Catches an update that merges.
pub async fn update_clears_what_the_new_record_does_not_have(h: Harness) {
    let before = full("ann");
    h.given(&before).await;
    let mut after = SessionRecord::new(before.id, before.created_at, before.expires_at);
    after.user_id.clone_from(&before.user_id);
    after.revision = h.update(&after, Revision::FIRST).await.expect("update");
    assert_stored(&h, &after).await;
}

/// Absent fields can be filled. Catches an update that changes only the columns that had a value.
pub async fn update_fills_what_was_absent(h: Harness) {
    let bare = anonymous();
    h.given(&bare).await;
    let mut filled = changed(&full("ann"));
    (filled.id, filled.user_id) = (bare.id, None);
    filled.revision = h.update(&filled, Revision::FIRST).await.expect("update");
    assert_stored(&h, &filled).await;
}

/// Kind and creation keep their stored values, whatever the new record contains, and so do the
/// lists that depend on them.
pub async fn update_keeps_kind_and_creation(h: Harness) {
    let before = full("ann");
    h.given(&before).await;
    let mut after = before.clone();
    after.kind = SessionKind::Api;
    after.created_at = at(10);
    after.last_seen_at = at(10);
    after.revision = h.update(&after, Revision::FIRST).await.expect("update");
    (after.kind, after.created_at) = (before.kind, before.created_at);
    assert_stored(&h, &after).await;
    assert_eq!(found(&h, ListQuery::default().with_kind(SessionKind::Api)).await, []);
    assert_eq!(found(&h, ListQuery::default().with_created_since(at(10))).await, []);
    assert_eq!(found(&h, ListQuery::default().with_kind(SessionKind::Web)).await, [before.id]);
}

/// A session keeps its user, whatever user the new record names. Catches an update that hands a
/// session over.
pub async fn update_never_moves_a_session_to_another_user(h: Harness) {
    let before = full("ann");
    h.given(&before).await;
    let other = neighbour("ann");
    let mut after = before.clone();
    for user_id in [Some(other.clone()), None] {
        after.user_id = user_id;
        after.revision = h.update(&after, after.revision).await.expect("update");
    }
    after.user_id.clone_from(&before.user_id);
    assert_stored(&h, &after).await;
    assert_eq!(live(&h, "ann", 1).await, [before.id]);
    assert_eq!(end(&h, &EndScope::User(other), &logged_out(1)).await, []);
    assert_eq!(h.end(&EndScope::User(user("ann")), &logged_out(1)).await, [before.id]);
}

/// An anonymous session never gets a user: signing in creates a new session, which is the defence
/// against fixation.
pub async fn update_never_gives_an_anonymous_session_a_user(h: Harness) {
    let mut visitor = record("ann");
    visitor.user_id = None;
    h.given(&visitor).await;
    let mut after = visitor.clone();
    after.user_id = Some(user("ann"));
    after.revision = h.update(&after, Revision::FIRST).await.expect("update");
    after.user_id = None;
    assert_stored(&h, &after).await;
    assert_eq!(live(&h, "ann", 1).await, []);
}

/// The revision in the new record is ignored; only the expected one counts.
pub async fn update_ignores_the_revision_in_the_record(h: Harness) {
    let mut record = record("ann");
    h.given(&record).await;
    for claimed in [1, 2, 77, i64::MAX.unsigned_abs()] {
        let expected = h.loaded(record.id).await.revision;
        record.revision = Revision::new(claimed).expect("a revision");
        assert_eq!(h.update(&record, expected).await.expect("update"), expected.next());
    }
    record.revision = Revision::new(5).expect("a revision");
    assert_stored(&h, &record).await;
}

/// An update that changes nothing still raises the revision. Catches a write that was optimised
/// away.
pub async fn update_without_a_change_raises_the_revision(h: Harness) {
    let mut record = full("ann");
    h.given(&record).await;
    record.revision = h.update(&record, Revision::FIRST).await.expect("update");
    assert_eq!(record.revision.get(), 2);
    assert_stored(&h, &record).await;
}

/// Every write except a touch raises the revision by exactly one, and so does the end.
pub async fn every_write_but_touch_raises_the_revision_by_one(h: Harness) {
    let mut record = full("ann");
    h.given(&record).await;
    for round in 1..=5_u64 {
        assert_eq!(h.loaded(record.id).await.revision.get(), round);
        assert_eq!(apply(&h, &[touch(record.id, round)]).await, 1);
        assert_eq!(h.loaded(record.id).await.revision.get(), round);
        record.revision = h.update(&record, record.revision).await.expect("update");
    }
    let ended = end(&h, &EndScope::id(record.id), &logged_out(9)).await;
    assert_eq!(ended[0].revision.get(), 7);
    assert_eq!(h.loaded(record.id).await.revision.get(), 7);
}

/// A record that was read before a touch does not undo the touch: the later last-seen time and its
/// client stay.
pub async fn update_does_not_move_last_seen_back(h: Harness) {
    let before = full("ann");
    h.given(&before).await;
    let seen = touch(before.id, 500);
    assert_eq!(apply(&h, std::slice::from_ref(&seen)).await, 1);
    let mut late = changed(&before);
    late.last_seen_at = at(499);
    late.revision = h.update(&late, Revision::FIRST).await.expect("a touch does not change the revision");
    (late.last_seen_at, late.last_client) = (seen.last_seen_at, seen.last_client);
    assert_stored(&h, &late).await;
}

/// A later last-seen time moves time and client forward. An equal time is not earlier, so the new
/// client is stored.
pub async fn update_takes_a_last_seen_time_that_is_not_earlier(h: Harness) {
    let mut record = full("ann");
    h.given(&record).await;
    for (millis, country) in [(0, "IT"), (700, "PT"), (700, "GR")] {
        record.last_seen_at = at(millis);
        record.last_client = LastClient::new(None, Some(country.into()));
        record.revision = h.update(&record, record.revision).await.expect("update");
        assert_stored(&h, &record).await;
    }
}

/// A session past its deadline that was not ended is active: a store does not evaluate time.
pub async fn update_of_an_expired_session_succeeds(h: Harness) {
    let mut record = record("ann");
    record.expires_at = at(1);
    h.given(&record).await;
    record.expires_at = at(10_000);
    record.last_seen_at = at(5_000);
    record.revision = h.update(&record, Revision::FIRST).await.expect("update");
    assert_stored(&h, &record).await;
    assert_eq!(live(&h, "ann", 9_999).await, [record.id]);
}

/// New deadlines, shorter and longer ones, count at once in sweeps and in lists. Catches an index
/// of deadlines that an update does not maintain.
pub async fn update_moves_the_deadlines(h: Harness) {
    let (mut shorter, mut longer, mut stricter) = (record("ann"), record("ann"), record("ann"));
    longer.expires_at = at(1_000);
    given_all(&h, &[shorter.clone(), longer.clone(), stricter.clone()]).await;
    (shorter.expires_at, longer.expires_at) = (at(1_000), at(3_600_000));
    stricter.idle_timeout = Some(Duration::from_secs(1));
    for record in [&mut shorter, &mut longer, &mut stricter] {
        record.revision = h.update(record, Revision::FIRST).await.expect("update");
    }
    assert_eq!(live(&h, "ann", 1_000).await, [longer.id]);
    assert_eq!(ids(&expire(&h, 1_000, 10).await), ids_of([&shorter, &stricter]));
    assert_stored(&h, &longer).await;
}

/// After an update of the user name, a list finds the session under the new name and not under the
/// old one.
pub async fn update_moves_the_session_to_its_new_name(h: Harness) {
    let (mut renamed, mut unnamed) = (record("ann"), record("ann"));
    given_all(&h, &[renamed.clone(), unnamed.clone()]).await;
    let named = |name: &str| ListQuery::default().with_username(name);
    assert_eq!(found(&h, named("name of ann")).await, ids_of([&renamed, &unnamed]));
    (renamed.username, unnamed.username) = (Some("Ann B.".to_owned()), None);
    h.update(&renamed, Revision::FIRST).await.expect("update");
    h.update(&unnamed, Revision::FIRST).await.expect("update");
    assert_eq!(found(&h, named("name of ann")).await, []);
    assert_eq!(found(&h, named("Ann B.")).await, [renamed.id]);
}

/// After an update of the device id, the session ends with the new device and not with the old one.
pub async fn update_moves_the_session_to_its_new_device(h: Harness) {
    let mut record = full("ann");
    h.given(&record).await;
    let device = |record: &SessionRecord| record.device_id.expect("a device");
    let old = device(&record);
    record.device_id = Some(device_id());
    h.update(&record, Revision::FIRST).await.expect("update");
    let scope = |device| EndScope::Device { user: user("ann"), device };
    assert_eq!(h.end(&scope(old), &logged_out(1)).await, []);
    assert_eq!(h.end(&scope(device(&record)), &logged_out(1)).await, [record.id]);
}

/// An update changes only the given session. Catches a missing condition on the id.
pub async fn update_leaves_other_sessions_alone(h: Harness) {
    let (mut record, sibling, stranger) = (full("ann"), full("ann"), full("bob"));
    given_all(&h, &[record.clone(), sibling.clone(), stranger.clone()]).await;
    record.label = Some("mine".to_owned());
    h.update(&record, Revision::FIRST).await.expect("update");
    assert_stored(&h, &sibling).await;
    assert_stored(&h, &stranger).await;
}

/// An end keeps and a list shows what an update wrote. Catches a second copy of the row that an
/// update does not maintain.
pub async fn update_is_seen_by_lists_and_kept_by_the_end(h: Harness) {
    let before = full("ann");
    h.given(&before).await;
    let mut after = changed(&before);
    after.revision = h.update(&after, Revision::FIRST).await.expect("update");
    let query = ListQuery::default().with_state(StateFilter::Live(at(22)));
    assert_same(&page(&h, &query).await.records[0], &after.redacted());
    assert_eq!(sign_out(&h, after.id, 30).await, [after.id]);
    assert_stored(&h, &after.into_ended(Ended::new(EndReason::LoggedOut, at(30), Actor::System))).await;
}
