//! Races under a limit: it is never exceeded, and each evicted session is returned once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use session_core::{
    DeviceKind, EndReason, EndScope, Error, ErrorKind, LimitScope, ListQuery, OnExceed, SessionId,
    SessionLimit, SessionRecord, StateFilter,
};

use super::{
    Records, TASKS, apply, assert_all_stored, change, end, found, given_all, ids_of, live, load, on, race,
    several,
};
use crate::fixtures::{full, limit, logged_out, record_at, touch, user};
use crate::harness::{Harness, ids};

/// The limit of most races.
const MAX: usize = 5;

fn at_most(on_exceed: OnExceed) -> SessionLimit {
    limit(5, on_exceed, 1_000)
}

/// Watches a user's live sessions until `done` is set, and asserts that never more than `max` were
/// live at once.
///
/// A list need not be a snapshot: it may show a session that ended while the list was read, beside
/// the one that replaced it. But sessions in two consecutive lists were live in between, because no
/// session becomes live again.
async fn watch(h: Harness, name: &'static str, max: usize, done: Arc<AtomicBool>) {
    let mut before = BTreeSet::new();
    loop {
        let last = done.load(Ordering::SeqCst);
        let now: BTreeSet<_> = live(&h, name, 1_000).await.into_iter().collect();
        let both = before.intersection(&now).count();
        assert!(both <= max, "{both} sessions were live at once under a limit of {max}");
        if last {
            return;
        }
        before = now;
        tokio::task::yield_now().await;
    }
}

/// Runs parallel sign-ins of a user beside a watcher, and returns their results.
async fn sign_in(
    h: &Harness,
    name: &'static str,
    limit: SessionLimit,
) -> Vec<(SessionRecord, Result<Records, Error>)> {
    let done = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(h.clone(), name, MAX, Arc::clone(&done)));
    let answers = race(h, TASKS, |number, h| async move {
        let record = record_at(name, number as u64);
        let answer = h.create(&record, &limit).await;
        (record, answer)
    });
    let answers = answers.await;
    done.store(true, Ordering::SeqCst);
    watcher.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
    answers
}

/// Asserts that all sign-ins succeeded, that exactly the limit is live, and that the others were
/// evicted and returned, each once.
async fn assert_exact(h: &Harness, name: &str, answers: Vec<(SessionRecord, Result<Records, Error>)>) {
    let mut created = Vec::new();
    let mut returned = Records::new();
    for (record, answer) in answers {
        let evicted = answer.expect("create");
        assert!(evicted.len() <= 1, "a sign-in evicted {} sessions", evicted.len());
        returned.extend(evicted);
        created.push(record);
    }
    let live: BTreeSet<_> = live(h, name, 1_000).await.into_iter().collect();
    assert_eq!(live.len(), MAX);
    let gone = ids(&returned);
    let expected: Vec<_> = ids_of(&created).into_iter().filter(|id| !live.contains(id)).collect();
    assert_eq!(gone, expected, "the evicted sessions differ from the returned ones");
    let reason = |record: &SessionRecord| record.ended().map(|ended| ended.reason);
    assert!(returned.iter().all(|record| reason(record) == Some(EndReason::LimitEvicted)));
    assert_all_stored(h, returned.iter().map(|record| &**record)).await;
}

/// After parallel sign-ins, exactly as many sessions stay as the limit allows, and no more are ever
/// live. Catches "count first, insert later" and "insert first, evict later".
pub async fn parallel_sign_ins_end_the_oldest_and_keep_the_limit(h: Harness) {
    let answers = sign_in(&h, "ann", at_most(OnExceed::EndOldest)).await;
    assert_exact(&h, "ann", answers).await;
}

/// The same if the limit evicts the least recently seen session.
pub async fn parallel_sign_ins_end_the_least_recently_seen_and_keep_the_limit(h: Harness) {
    let answers = sign_in(&h, "ann", at_most(OnExceed::EndLeastRecentlySeen)).await;
    assert_exact(&h, "ann", answers).await;
}

/// If the limit refuses, exactly as many sign-ins succeed as it allows, no session is evicted, and
/// every refusal returns the sessions that fill the limit.
pub async fn parallel_sign_ins_are_refused_beyond_the_limit(h: Harness) {
    let answers = sign_in(&h, "ann", at_most(OnExceed::Refuse)).await;
    let mut created = Vec::new();
    let mut refused = Vec::new();
    for (record, answer) in answers {
        match answer {
            Ok(ended) => {
                assert!(ended.is_empty());
                created.push(record);
            }
            Err(error) => {
                assert_eq!((error.kind(), error.live_sessions().len()), (ErrorKind::LimitExceeded, MAX));
                refused.push(record.id);
            }
        }
    }
    assert_eq!(created.len(), MAX);
    assert_eq!(live(&h, "ann", 1_000).await, ids_of(&created));
    assert!(load(&h, &refused).await.is_empty(), "a refused session is stored");
}

/// Concurrent sign-ins of two users keep both limits, and no session is evicted for the other user.
/// Catches locks that are taken in two orders.
pub async fn parallel_sign_ins_of_two_users_keep_both_limits(h: Harness) {
    let limit = at_most(OnExceed::EndOldest);
    let answers = race(&h, TASKS, |number, h| async move {
        let record = record_at(["ann", "bob"][number % 2], number as u64);
        let answer = h.create(&record, &limit).await;
        if let Ok(evicted) = &answer {
            assert!(evicted.iter().all(|gone| gone.user_id == record.user_id));
        }
        (record, answer)
    });
    let (ann, bob) =
        answers.await.into_iter().partition(|(record, _)| record.user_id.as_ref() == Some(&user("ann")));
    assert_exact(&h, "ann", ann).await;
    assert_exact(&h, "bob", bob).await;
}

/// Sign-ins on several kinds of devices keep the limit of each kind.
pub async fn parallel_sign_ins_keep_the_limit_of_each_device_kind(h: Harness) {
    let kinds = [Some(DeviceKind::Mobile), Some(DeviceKind::Desktop), None];
    let per_kind = limit(2, OnExceed::EndOldest, 1_000).with_scope(LimitScope::UserAndDeviceKind);
    let answers = race(&h, TASKS, |number, h| async move {
        let record = on(kinds[number % 3], number as u64);
        h.create(&record, &per_kind).await.expect("create")
    });
    let evicted: Records = answers.await.into_iter().flatten().collect();
    let left = load(&h, &live(&h, "ann", 1_000).await).await;
    for kind in kinds {
        assert_eq!(left.iter().filter(|live| live.client.device.kind == kind).count(), 2);
    }
    assert_eq!(evicted.len(), TASKS - 6, "an eviction was lost or returned twice");
}

/// A limit per kind of device and one for the whole user, used concurrently: sign-ins with the
/// narrower limit keep it, and all sign-ins keep the wider one.
pub async fn parallel_sign_ins_of_both_scopes_keep_the_wider_limit(h: Harness) {
    let wide = at_most(OnExceed::EndOldest);
    let narrow = limit(1, OnExceed::EndOldest, 1_000).with_scope(LimitScope::UserAndDeviceKind);
    let answers = race(&h, TASKS, |number, h| async move {
        let record = record_at("ann", number as u64);
        h.create(&record, if number % 2 == 0 { &wide } else { &narrow }).await.expect("create")
    });
    let evicted: Records = answers.await.into_iter().flatten().collect();
    let left = live(&h, "ann", 1_000).await;
    assert!((1..=MAX).contains(&left.len()), "{} are live under a limit of {MAX}", left.len());
    assert_eq!(evicted.len() + left.len(), TASKS, "an eviction was lost or returned twice");
}

/// An eviction wins over concurrent saves and touches, like any end.
pub async fn evictions_are_not_undone_by_updates_and_touches(h: Harness) {
    let victims = [full("ann"), full("ann"), full("ann"), full("ann"), full("ann")];
    given_all(&h, &victims).await;
    let targets = ids_of(&victims);
    let answers = race(&h, TASKS, |number, h| {
        let target = targets[number % targets.len()];
        async move {
            match number % 8 {
                0 => {
                    let record = record_at("ann", 500 + number as u64);
                    h.create(&record, &at_most(OnExceed::EndOldest)).await.expect("create")
                }
                1..=4 => {
                    let edit = |record: &mut SessionRecord| record.label = Some(number.to_string());
                    if let Err(error) = change(&h, target, edit).await {
                        assert_eq!(error.kind(), ErrorKind::Ended);
                    }
                    Records::new()
                }
                _ => {
                    apply(&h, &[touch(target, number as u64)]).await;
                    Records::new()
                }
            }
        }
    });
    let evicted: Records = answers.await.into_iter().flatten().collect();
    assert_eq!((evicted.len(), live(&h, "ann", 1_000).await.len()), (TASKS / 8, MAX));
    assert_all_stored(&h, evicted.iter().map(|record| &**record)).await;
}

/// Concurrent evictions and sign-outs: each session ends once, and one call returns it.
pub async fn evictions_and_ends_return_each_session_once(h: Harness) {
    let before = several("ann", 20);
    given_all(&h, &before).await;
    let answers = race(&h, TASKS, |number, h| {
        let target: SessionId = before[(number * 7) % before.len()].id;
        async move {
            if number % 2 == 0 {
                let record = record_at("ann", 100 + number as u64);
                return h.create(&record, &at_most(OnExceed::EndOldest)).await.expect("create");
            }
            end(&h, &EndScope::id(target), &logged_out(1)).await
        }
    });
    let returned: Records = answers.await.into_iter().flatten().collect();
    let query = ListQuery::default().with_user(user("ann")).with_state(StateFilter::Ended);
    assert_eq!(ids(&returned), found(&h, query).await);
    assert!(live(&h, "ann", 1_000).await.len() <= MAX);
    assert_all_stored(&h, returned.iter().map(|record| &**record)).await;
}

/// Each freed place is used once, while users sign out and in.
pub async fn freed_places_are_given_away_once(h: Harness) {
    let before = several("ann", MAX);
    given_all(&h, &before).await;
    let done = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(h.clone(), "ann", MAX, Arc::clone(&done)));
    let answers = race(&h, TASKS, |number, h| {
        let leaving = before.get(number / 8).filter(|_| number % 8 == 0).map(|record| record.id);
        async move {
            if let Some(id) = leaving {
                end(&h, &EndScope::id(id), &logged_out(1)).await;
                return 0;
            }
            let record = record_at("ann", 100 + number as u64);
            usize::from(h.create(&record, &at_most(OnExceed::Refuse)).await.is_ok())
        }
    });
    let entered: usize = answers.await.into_iter().sum();
    done.store(true, Ordering::SeqCst);
    watcher.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
    assert!(entered <= MAX, "{entered} sign-ins succeeded with {MAX} free places");
    assert_eq!(live(&h, "ann", 1_000).await.len(), entered);
}
