//! Races under two limits at once, for the user and for the kind of device: both are exact.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use session_core::{
    DeviceKind, EndReason, Error, ErrorKind, ListQuery, OnExceed, Result, SessionId, SessionLimit,
    SessionRecord, StateFilter,
};

use super::{Records, TASKS, assert_all_stored, ids_of, load, on, page, race};
use crate::fixtures::{at, limit, user};
use crate::harness::{Harness, ids};

/// The maximum number of sessions of the user.
const MAX: u32 = 5;

/// The maximum number of sessions of the user on devices of one kind. All kinds together would
/// allow more than [`MAX`].
const PER_KIND: u32 = 2;

const KINDS: [Option<DeviceKind>; 4] =
    [Some(DeviceKind::Mobile), Some(DeviceKind::Desktop), Some(DeviceKind::Tv), None];

type Answers = Vec<(SessionRecord, Result<Records, Error>)>;

fn both(on_exceed: OnExceed) -> SessionLimit {
    let per_kind = NonZeroU32::new(PER_KIND).expect("a limit above zero");
    limit(MAX, on_exceed, 1_000).with_max_per_device_kind(per_kind)
}

/// Asserts that no more sessions are live than both limits allow.
fn assert_within(live: &BTreeSet<(SessionId, Option<DeviceKind>)>) {
    assert!(live.len() <= MAX as usize, "{} sessions are live under a limit of {MAX}", live.len());
    for kind in KINDS {
        let alike = live.iter().filter(|(_, other)| *other == kind).count();
        assert!(alike <= PER_KIND as usize, "{alike} sessions are live on devices of kind {kind:?}");
    }
}

/// Returns Ann's live sessions, each with its kind of device.
async fn live_with_kinds(h: &Harness) -> BTreeSet<(SessionId, Option<DeviceKind>)> {
    let query = ListQuery::default().with_user(user("ann")).with_state(StateFilter::Live(at(1_000)));
    let records = page(h, &query).await.records;
    records.iter().map(|record| (record.id, record.client.device.kind)).collect()
}

/// Watches the live sessions until the race is over. Sessions in two consecutive listings were live
/// in between, because no session becomes live again.
async fn watch(h: Harness, done: Arc<AtomicBool>) {
    let mut before = BTreeSet::new();
    loop {
        let last = done.load(Ordering::SeqCst);
        let now = live_with_kinds(&h).await;
        assert_within(&before.intersection(&now).copied().collect());
        if last {
            return;
        }
        before = now;
        tokio::task::yield_now().await;
    }
}

/// Runs parallel sign-ins on devices of all kinds beside a watcher. Sign-ins of one kind follow
/// each other, so that the limit of the user alone would keep too many of the last kind.
async fn sign_in(h: &Harness, on_exceed: OnExceed) -> Answers {
    let done = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(h.clone(), Arc::clone(&done)));
    let answers = race(h, TASKS, |number, h| async move {
        let record = on(KINDS[number * KINDS.len() / TASKS], number as u64);
        let answer = h.create(&record, &both(on_exceed)).await;
        (record, answer)
    });
    let answers = answers.await;
    done.store(true, Ordering::SeqCst);
    watcher.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
    answers
}

/// Asserts that as many sessions are live as both limits allow, and returns their ids.
async fn assert_full(h: &Harness) -> BTreeSet<SessionId> {
    let live = live_with_kinds(h).await;
    assert_within(&live);
    assert_eq!(live.len(), MAX as usize, "a session ended for no reason");
    live.into_iter().map(|(id, _)| id).collect()
}

/// After parallel sign-ins, exactly as many sessions stay as both limits allow, no more are ever
/// live, and each evicted session is returned once.
pub async fn parallel_sign_ins_keep_both_limits_of_a_user(h: Harness) {
    for on_exceed in [OnExceed::EndOldest, OnExceed::EndLeastRecentlySeen] {
        let (mut created, mut returned) = (Vec::new(), Records::new());
        for (record, answer) in sign_in(&h, on_exceed).await {
            returned.extend(answer.expect("create"));
            created.push(record);
        }
        let live = assert_full(&h).await;
        let reason = |record: &SessionRecord| record.ended().map(|ended| ended.reason);
        assert!(returned.iter().all(|record| reason(record) == Some(EndReason::LimitEvicted)));
        assert_all_stored(&h, returned.iter().map(|record| &**record)).await;
        let gone = ids_of(&created).into_iter().filter(|id| !live.contains(id));
        assert_eq!(ids(&returned), gone.collect::<Vec<_>>(), "an eviction was lost or returned twice");
        let ann = session_core::EndScope::User(user("ann"));
        assert_eq!(h.end(&ann, &crate::fixtures::logged_out(1)).await.len(), MAX as usize);
    }
}

/// If both limits refuse, exactly as many sign-ins succeed as both allow. Each refusal returns the
/// sessions that fill one of the limits.
pub async fn parallel_sign_ins_are_refused_beyond_both_limits_of_a_user(h: Harness) {
    let (mut created, mut refused) = (BTreeSet::new(), Vec::new());
    for (record, answer) in sign_in(&h, OnExceed::Refuse).await {
        let Err(error) = answer else {
            created.insert(record.id);
            continue;
        };
        let shown = error.live_sessions();
        let alike = shown.iter().all(|shown| shown.client.device.kind == record.client.device.kind);
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert_eq!(shown.len(), if alike { PER_KIND as usize } else { MAX as usize });
        refused.push(record.id);
    }
    assert_eq!(assert_full(&h).await, created);
    assert!(load(&h, &refused).await.is_empty(), "a refused session is stored");
}
