//! `stats`: exact counts.

use std::collections::BTreeMap;

use session_core::{Actor, EndReason, Ended, OnExceed, StoreStats};

use super::{ago, apply, expire, given_all, given_ended, idle, purge, sign_out, stats};
use crate::fixtures::{NOW, anonymous, at, limit, logged_out, record, record_at, touch};
use crate::harness::Harness;

/// An empty store counts nothing and has no oldest session.
pub async fn stats_of_an_empty_store_are_empty(h: Harness) {
    assert_eq!(stats(&h, 0).await, StoreStats::default());
}

/// Every stored session is counted once: as live, as expired, or under the reason of its end.
/// Reasons that do not occur are absent.
pub async fn stats_count_every_session_once(h: Harness) {
    given_all(&h, &[record("ann"), record("ann"), record("bob"), anonymous()]).await;
    let mut past = [record("ann"), idle("cid", 900), record("dan")];
    past[0].expires_at = at(1_000);
    past[2].expires_at = at(500);
    given_all(&h, &past).await;
    for (reason, count) in [(EndReason::LoggedOut, 3), (EndReason::UserInactive, 1)] {
        for _ in 0..count {
            given_ended(&h, &record("eve"), &Ended::new(reason, at(1), Actor::System)).await;
        }
    }
    assert_eq!(expire(&h, 500, 10).await.len(), 1);
    h.create(&record("bob"), &limit(1, OnExceed::EndOldest, 600)).await.expect("create");

    let mut expected = StoreStats::default();
    (expected.live, expected.expired, expected.users) = (4, 2, 2);
    expected.ended = BTreeMap::from([
        (EndReason::LoggedOut, 3),
        (EndReason::UserInactive, 1),
        (EndReason::AbsoluteTimeout, 1),
        (EndReason::LimitEvicted, 1),
    ]);
    (expected.oldest, expected.newest) = (Some(NOW), Some(NOW));
    assert_eq!(stats(&h, 1_000).await, expected);
}

/// Live and expired are determined at the given time; a session is expired at its deadline, and the
/// time may go back.
pub async fn stats_judge_at_the_given_time(h: Harness) {
    let (mut absolute, idle) = (record("ann"), idle("bob", 1_000));
    absolute.expires_at = at(2_000);
    given_all(&h, &[absolute, idle]).await;
    for (now, live) in [(2_000, 0), (1_999, 1), (1_000, 1), (999, 2), (0, 2)] {
        let counted = stats(&h, now).await;
        assert_eq!((counted.live, counted.expired, counted.users), (live, 2 - live, live));
    }
}

/// Each user is counted once, and only with a live session; anonymous sessions belong to no user.
pub async fn stats_count_users_with_live_sessions_once(h: Harness) {
    given_all(&h, &[record("ann"), record("ann"), record("ann"), record("bob")]).await;
    given_all(&h, &[anonymous(), anonymous()]).await;
    given_ended(&h, &record("cid"), &logged_out(1)).await;
    let mut past = record("dan");
    past.expires_at = at(1);
    h.given(&past).await;
    given_ended(&h, &record("ann"), &logged_out(1)).await;
    assert_eq!(stats(&h, 5).await.users, 2);
}

/// Oldest and newest are the creation times of stored sessions in any state.
pub async fn stats_show_the_oldest_and_newest_creation(h: Harness) {
    let (mut past, newest) = (record_at("ann", 100), record_at("bob", 900));
    past.expires_at = at(101);
    let middle = record_at("ann", 500);
    given_all(&h, &[middle.clone(), past.clone()]).await;
    given_ended(&h, &newest, &logged_out(950)).await;
    let range = |counted: StoreStats| (counted.oldest, counted.newest);
    assert_eq!(range(stats(&h, 1_000).await), (Some(at(100)), Some(at(900))));
    sign_out(&h, past.id, 960).await;
    assert_eq!(range(stats(&h, 1_000).await), (Some(at(100)), Some(at(900))));
    assert_eq!(purge(&h, at(1_000), 10).await, 2);
    assert_eq!(range(stats(&h, 1_000).await), (Some(at(500)), Some(at(500))));
}

/// Updates and touches do not count as sessions, and hide none.
pub async fn stats_do_not_change_with_use(h: Harness) {
    let mut record = record("ann");
    h.given(&record).await;
    let before = stats(&h, 500).await;
    for millis in 1..5 {
        apply(&h, &[touch(record.id, millis)]).await;
        record.revision = h.update(&record, record.revision).await.expect("update");
    }
    assert_eq!(stats(&h, 500).await, before);
    assert_eq!(stats(&h, 500).await.oldest, Some(ago(0)));
}
