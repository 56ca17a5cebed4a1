//! Races of sweeps and purges: each session is claimed once, and no live session is.

use std::collections::BTreeSet;
use std::time::Duration;

use session_core::{EndReason, EndScope, ErrorKind, ListQuery, SessionRecord, StateFilter, Timestamp};

use super::{
    Records, TASKS, apply, assert_all_stored, assert_empty, change, end, expire, expired, expiring, found,
    given_all, ids_of, load, load_all, purge, race, several,
};
use crate::fixtures::{at, logged_out, touch, user};
use crate::harness::{Harness, ids};

/// Creates sessions that are idle since 1 second after [`NOW`](crate::fixtures::NOW).
fn idle_sessions(count: usize) -> Vec<SessionRecord> {
    let mut records = several("ann", count);
    for record in &mut records {
        record.last_seen_at = at(500);
        record.idle_timeout = Some(Duration::from_millis(500));
    }
    records
}

/// Sweeps until a batch is short.
async fn sweep(h: &Harness, millis: u64, limit: usize) -> Records {
    let mut swept = Records::new();
    loop {
        let batch = expire(h, millis, limit).await;
        let short = batch.len() < limit;
        swept.extend(batch);
        if short {
            return swept;
        }
    }
}

/// Concurrent sweepers share the work: no session is claimed twice, none is left, and live ones
/// stay.
pub async fn parallel_sweepers_claim_each_session_once(h: Harness) {
    let (past, live) = (expiring("ann", 80), several("bob", 10));
    given_all(&h, &past).await;
    given_all(&h, &live).await;
    let claims = race(&h, 8, |number, h| async move { sweep(&h, 1_000 + number as u64, 7).await }).await;
    let claimed: Records = claims.into_iter().flatten().collect();
    assert_eq!(ids(&claimed), ids_of(&past), "a session was claimed twice or never");
    let ended = expired(EndReason::AbsoluteTimeout, at(1_000));
    assert!(claimed.iter().all(|record| record.ended() == Some(&ended)));
    assert_all_stored(&h, claimed.iter().map(|record| &**record)).await;
    assert_all_stored(&h, &live).await;
}

/// A session that is touched during a sweep either stays or has ended before the touch: never both.
/// The deadline is checked inside the claim.
pub async fn a_sweep_leaves_what_was_touched_meanwhile(h: Harness) {
    let sessions = idle_sessions(48);
    given_all(&h, &sessions).await;
    let outcomes = race(&h, TASKS, |number, h| {
        let target = sessions.get(number).map(|session| session.id);
        async move {
            match target {
                Some(id) => (apply(&h, &[touch(id, 999)]).await, Vec::new()),
                None => (0, ids(&expire(&h, 1_200, 10).await)),
            }
        }
    });
    let (moved, claimed): (Vec<_>, Vec<_>) = outcomes.await.into_iter().unzip();
    let claimed: Vec<_> = claimed.into_iter().flatten().collect();
    let distinct: BTreeSet<_> = claimed.iter().copied().collect();
    assert_eq!(distinct.len(), claimed.len(), "a session was claimed twice");
    for (stored, moved) in load_all(&h, &ids_of(&sessions)).await.iter().zip(moved) {
        assert_eq!(stored.ended().is_some(), distinct.contains(&stored.id));
        assert_eq!(stored.ended().is_none(), moved == 1, "touched and swept, or neither");
        let ended = expired(EndReason::IdleTimeout, at(1_000));
        assert!(stored.ended().is_none_or(|stored| *stored == ended));
    }
}

/// A session that is extended during a sweep either stays or has ended before, and then the save
/// fails with that end.
pub async fn a_sweep_leaves_what_was_extended_meanwhile(h: Harness) {
    let sessions = expiring("ann", 40);
    given_all(&h, &sessions).await;
    let outcomes = race(&h, TASKS, |number, h| {
        let target = sessions.get(number).map(|session| session.id);
        async move {
            let Some(id) = target else { return Err(expire(&h, 1_000, 10).await) };
            match change(&h, id, |record| record.expires_at = at(90_000)).await {
                Ok(_) => Ok(true),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Ended);
                    Ok(false)
                }
            }
        }
    });
    let (extended, claims): (Vec<_>, Vec<_>) = outcomes.await.into_iter().partition(Result::is_ok);
    let claimed: Records = claims.into_iter().filter_map(Result::err).flatten().collect();
    for (stored, extended) in load_all(&h, &ids_of(&sessions)).await.iter().zip(extended) {
        assert_eq!(stored.ended().is_none(), extended == Ok(true), "extended and swept, or neither");
    }
    assert_all_stored(&h, claimed.iter().map(|record| &**record)).await;
}

/// Concurrent sweeps and sign-outs: each session ends once, with the reason that was returned.
pub async fn a_sweep_and_an_end_return_each_session_once(h: Harness) {
    let sessions = expiring("ann", 60);
    given_all(&h, &sessions).await;
    let all = ids_of(&sessions);
    let answers = race(&h, TASKS, |number, h| {
        let some: Vec<_> = all.iter().cycle().skip(number).take(3).copied().collect();
        async move {
            match number % 4 {
                0 => expire(&h, 1_000, 7).await,
                1 => end(&h, &EndScope::User(user("ann")), &logged_out(2_000)).await,
                _ => end(&h, &EndScope::Ids(some), &logged_out(3_000)).await,
            }
        }
    });
    let returned: Records = answers.await.into_iter().flatten().collect();
    assert_eq!(ids(&returned), all);
    assert_all_stored(&h, returned.iter().map(|record| &**record)).await;
}

/// A purge beside a sweep deletes ended sessions and nothing else; the counts add up.
pub async fn a_purge_deletes_only_what_a_sweep_ended(h: Harness) {
    let (past, live) = (expiring("ann", 60), several("bob", 10));
    given_all(&h, &past).await;
    given_all(&h, &live).await;
    let outcomes = race(&h, 16, |number, h| async move {
        match number % 2 {
            0 => (sweep(&h, 2_000, 5).await.len() as u64, 0),
            _ => {
                let mut purged = 0;
                for _ in 0..8 {
                    purged += purge(&h, Timestamp::MAX, 3).await;
                }
                (0, purged)
            }
        }
    });
    let (swept, purged): (Vec<_>, Vec<_>) = outcomes.await.into_iter().unzip();
    let (swept, purged): (u64, u64) = (swept.into_iter().sum(), purged.into_iter().sum());
    assert_eq!(swept, 60, "a session was swept twice or never");
    let left = found(&h, ListQuery::default().with_state(StateFilter::Ended)).await;
    assert_eq!(purged + left.len() as u64, 60, "the purges do not add up");
    assert_eq!(load(&h, &ids_of(&past)).await.len(), left.len());
    assert_all_stored(&h, &live).await;
}

/// Concurrent purges share the work: together they count each session once.
pub async fn parallel_purges_count_each_session_once(h: Harness) {
    let sessions = several("ann", 60);
    given_all(&h, &sessions).await;
    end(&h, &EndScope::User(user("ann")), &logged_out(1)).await;
    let purged = race(&h, 16, |_, h| async move {
        let mut purged = 0;
        loop {
            let batch = purge(&h, at(2), 7).await;
            purged += batch;
            if batch == 0 {
                return purged;
            }
        }
    });
    assert_eq!(purged.await.into_iter().sum::<u64>(), 60);
    assert!(load(&h, &ids_of(&sessions)).await.is_empty());
    assert_empty(&h).await;
}
