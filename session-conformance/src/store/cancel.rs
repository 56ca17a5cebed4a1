//! Futures that are dropped at any await point: they leave the old state or the new one, and a
//! working store.
//!
//! A call that was sent may still take effect after its future was dropped. So a case that reads
//! right afterwards accepts either state, and after it has repeated the call it requires the new
//! one.

use std::sync::Arc;
use std::time::Duration;

use session_core::{
    EndReason, EndScope, Ended, Error, ErrorKind, ListQuery, OnExceed, SessionRecord, StateFilter, Timestamp,
};

use super::{
    Records, abandon, apply, assert_all_stored, assert_empty, assert_same, assert_stored, change, end,
    evicted, expire, expired, expiring, given_all, ids_of, live, load, load_all, page, purge, several,
};
use crate::fixtures::{NOW, at, full, limit, logged_out, record_at, touch, user};
use crate::harness::{Harness, ids};

/// The number of dropped calls: more than a pool has connections. Each is dropped one await point
/// later than the one before; after eight they start over.
const ROUNDS: usize = 32;

/// Returns how often the future of a round is polled.
const fn polls(round: usize) -> usize {
    round % 8
}

/// Asserts that a session is stored as it was before or as it is after.
#[track_caller]
fn assert_either(stored: &SessionRecord, before: &SessionRecord, after: &SessionRecord) {
    assert_same(stored, if stored.revision == before.revision { before } else { after });
}

/// How often a sweep is repeated while a dropped one still holds rows, 10 ms apart.
const SWEEPS: usize = 500;

/// Sweeps until all of the sessions have ended.
async fn sweep(h: &Harness, sessions: &[SessionRecord]) {
    for _ in 0..SWEEPS {
        expire(h, 1_000, 10).await;
        if load(h, &ids_of(sessions)).await.iter().all(|session| session.ended().is_some()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("rows of a dropped sweep are never swept");
}

/// Purges until all of the sessions are deleted.
async fn purge_all(h: &Harness, sessions: &[SessionRecord]) {
    for _ in 0..SWEEPS {
        purge(h, at(2), 10).await;
        if load(h, &ids_of(sessions)).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("rows of a dropped purge are never purged");
}

/// Asserts that each session is stored as it was or ended; runs `rest`, and asserts that all have
/// ended.
async fn assert_each_ends(
    h: &Harness,
    sessions: &[SessionRecord],
    ended: &Ended,
    rest: impl Future<Output = ()>,
) {
    let after: Vec<_> = sessions.iter().map(|session| session.clone().into_ended(ended.clone())).collect();
    for ((stored, before), after) in load_all(h, &ids_of(sessions)).await.iter().zip(sessions).zip(&after) {
        assert_either(stored, before, after);
    }
    rest.await;
    assert_all_stored(h, &after).await;
}

fn expect_taken(answer: Result<Records, Error>) {
    if let Err(error) = answer {
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }
}

/// A dropped create leaves the complete session or none.
pub async fn cancelled_create_leaves_all_or_nothing(h: Harness) {
    for round in 0..ROUNDS {
        let record = full("ann");
        abandon(h.store().create(Arc::new(record.clone()), None), polls(round)).await;
        if let Some(stored) = h.load(record.id).await {
            assert_same(&stored, &record);
        }
        expect_taken(h.store().create(Arc::new(record.clone()), None).await);
        assert_stored(&h, &record).await;
    }
    assert_eq!(live(&h, "ann", 1).await.len(), ROUNDS);
}

/// A dropped create under a limit leaves the session with its evictions, or neither; no place is
/// occupied or lost.
pub async fn cancelled_create_under_a_limit_leaves_all_or_nothing(h: Harness) {
    let limit = limit(2, OnExceed::EndOldest, 500);
    let mut before: Vec<SessionRecord> = several("ann", 2);
    given_all(&h, &before).await;
    for round in 0..ROUNDS {
        let new = record_at("ann", 10 + round as u64);
        let old = before.remove(0);
        abandon(h.create(&new, &limit), polls(round)).await;
        let pair = async || (h.load(new.id).await.is_some(), h.loaded(old.id).await.ended().is_some());
        let (created, gone) = pair().await;
        if created != gone {
            // The call may take effect between the two loads; then a second look shows both.
            assert_eq!(pair().await, (true, true), "half of a create");
        }
        expect_taken(h.create(&new, &limit).await);
        assert_stored(&h, &old.into_ended(evicted(&limit))).await;
        before.push(new);
        assert_eq!(live(&h, "ann", 500).await, ids_of(&before));
    }
}

/// A dropped update leaves the old record or the new one, and no lock that blocks the next update.
pub async fn cancelled_update_leaves_the_old_or_the_new_record(h: Harness) {
    let mut before = full("ann");
    h.given(&before).await;
    for round in 0..ROUNDS {
        let mut after = before.clone();
        after.label = Some(format!("round {round}"));
        after.data = vec![b'x'; round * 50].into();
        abandon(h.update(&after, before.revision), polls(round)).await;
        after.revision = before.revision.next();
        assert_either(&*h.loaded(before.id).await, &before, &after);
        let again = |record: &mut SessionRecord| {
            record.label.clone_from(&after.label);
            record.data = Arc::clone(&after.data);
        };
        after.revision = change(&h, before.id, again).await.expect("update");
        assert_stored(&h, &after).await;
        before = after;
    }
}

/// A dropped touch updates each session or does not, time and client together.
pub async fn cancelled_touch_moves_each_session_or_not(h: Harness) {
    let mut sessions = several("ann", 5);
    given_all(&h, &sessions).await;
    for round in 0..ROUNDS {
        let batch: Vec<_> = sessions.iter().map(|session| touch(session.id, 100 + round as u64)).collect();
        abandon(h.store().touch(&batch, NOW), polls(round)).await;
        let stored = load_all(&h, &ids_of(&sessions)).await;
        for ((session, touch), stored) in sessions.iter_mut().zip(&batch).zip(stored) {
            let before = session.clone();
            assert!(session.touch(touch, NOW));
            assert_same(&stored, if stored.last_seen_at == before.last_seen_at { &before } else { session });
        }
        apply(&h, &batch).await;
        assert_all_stored(&h, &sessions).await;
    }
}

/// A dropped end ends each session or leaves it, and repeating it ends the rest.
pub async fn cancelled_end_ends_each_session_or_not(h: Harness) {
    for round in 0..ROUNDS {
        let mut sessions = several("ann", 3);
        sessions.iter_mut().for_each(|session| session.data = Arc::from(&b"data"[..]));
        given_all(&h, &sessions).await;
        let scope =
            if round % 2 == 0 { EndScope::User(user("ann")) } else { EndScope::Ids(ids_of(&sessions)) };
        abandon(h.store().end(&scope, &logged_out(1), Timestamp::MAX), polls(round)).await;
        let rest = async { drop(end(&h, &scope, &logged_out(1)).await) };
        assert_each_ends(&h, &sessions, &logged_out(1), rest).await;
    }
    assert_eq!(live(&h, "ann", 1).await, []);
}

/// A dropped sweep ends each session or leaves it, and a later sweep ends the rest.
pub async fn cancelled_expire_ends_each_session_or_not(h: Harness) {
    let ended = expired(EndReason::AbsoluteTimeout, at(1_000));
    for round in 0..ROUNDS {
        let sessions = expiring("ann", 3);
        given_all(&h, &sessions).await;
        abandon(h.store().expire(at(1_000), 10), polls(round)).await;
        assert_each_ends(&h, &sessions, &ended, sweep(&h, &sessions)).await;
    }
    assert!(expire(&h, 1_000, 10).await.is_empty());
}

/// A dropped purge deletes each session or leaves it unchanged.
pub async fn cancelled_purge_deletes_each_session_or_not(h: Harness) {
    for round in 0..ROUNDS {
        let sessions = several("ann", 3);
        given_all(&h, &sessions).await;
        end(&h, &EndScope::User(user("ann")), &logged_out(1)).await;
        abandon(h.store().purge(at(2), 10), polls(round)).await;
        for left in load(&h, &ids_of(&sessions)).await {
            let before = sessions.iter().find(|session| session.id == left.id).expect("one of them");
            assert_same(&left, &before.clone().into_ended(logged_out(1)));
        }
        purge_all(&h, &sessions).await;
    }
    assert_empty(&h).await;
}

/// Dropped reads change nothing and lose no connection.
pub async fn cancelled_reads_leave_everything_as_it_was(h: Harness) {
    let sessions = [full("ann"), full("ann")];
    given_all(&h, &sessions).await;
    let query = ListQuery::default().with_state(StateFilter::Live(at(5)));
    for round in 0..ROUNDS {
        let all = ids_of(&sessions);
        abandon(h.store().load(&all), polls(round)).await;
        abandon(h.store().list(&query), polls(round)).await;
        abandon(h.store().stats(Timestamp::MAX), polls(round)).await;
        assert_eq!(ids(&load(&h, &all).await), all);
    }
    assert_eq!(ids(&page(&h, &query).await.records), ids_of(&sessions));
    assert_all_stored(&h, &sessions).await;
}
