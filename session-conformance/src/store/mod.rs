//! The cases of the store suite, by topic.
//!
//! A case receives an empty store and panics if the store breaks the promise that names the case.
//! Cases do not sleep, do not read a clock, and do not depend on the order of a result that the
//! contract leaves open.

mod cancel;
mod create;
mod end;
mod end_bound;
mod end_scopes;
mod erase;
mod errors;
mod expire;
mod ids;
mod invalid;
mod limit;
mod limit_both;
mod limit_counts;
mod list;
mod list_device;
mod listing;
mod load;
mod paging;
mod payload;
mod purge;
mod races;
mod races_both_limits;
mod races_end;
mod races_limit;
mod races_sweep;
mod secrets;
mod shapes;
mod stats;
pub mod tenants;
mod text;
mod time;
mod touch;
mod touch_late;
mod update;
mod update_refused;

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use session_core::limits::MAX_PAGE;
use session_core::{
    Actor, ClientInfo, DeviceId, DeviceKind, EndReason, EndScope, Ended, Error, ErrorKind, ListQuery,
    OnExceed, Page, Result, Revision, SessionId, SessionLimit, SessionRecord, StateFilter, StoreStats,
    Timestamp, Touch, UserId,
};
use tokio::sync::Barrier;

use crate::fixtures::{NOW, at, full, limit, logged_out, record_at, user};
use crate::harness::{Harness, ids};

/// Every case under its name.
pub mod cases {
    pub use super::cancel::*;
    pub use super::create::*;
    pub use super::end::*;
    pub use super::end_bound::*;
    pub use super::end_scopes::*;
    pub use super::erase::*;
    pub use super::errors::*;
    pub use super::expire::*;
    pub use super::ids::*;
    pub use super::invalid::*;
    pub use super::limit::*;
    pub use super::limit_both::*;
    pub use super::limit_counts::*;
    pub use super::list_device::*;
    pub use super::listing::*;
    pub use super::load::*;
    pub use super::paging::*;
    pub use super::payload::*;
    pub use super::purge::*;
    pub use super::races::*;
    pub use super::races_both_limits::*;
    pub use super::races_end::*;
    pub use super::races_limit::*;
    pub use super::races_sweep::*;
    pub use super::secrets::*;
    pub use super::shapes::*;
    pub use super::stats::*;
    pub use super::text::*;
    pub use super::time::*;
    pub use super::touch::*;
    pub use super::touch_late::*;
    pub use super::update::*;
    pub use super::update_refused::*;
}

type Records = Vec<Arc<SessionRecord>>;

/// The number of tasks in a race.
const TASKS: usize = 64;

/// Returns the time `millis` before [`NOW`].
fn ago(millis: u64) -> Timestamp {
    NOW.saturating_sub(Duration::from_millis(millis))
}

/// Creates `count` sessions of a user, one millisecond apart, so that their ids are sorted.
fn several(name: &str, count: usize) -> Vec<SessionRecord> {
    (0..count as u64).map(|millis| record_at(name, millis)).collect()
}

/// Creates `count` sessions of a user that expire 1 second after [`NOW`].
fn expiring(name: &str, count: usize) -> Vec<SessionRecord> {
    let mut records = several(name, count);
    records.iter_mut().for_each(|record| record.expires_at = at(1_000));
    records
}

/// Creates a session with an idle timeout of `millis`, which is not live any more at `millis` after
/// [`NOW`] unless it is used.
fn idle(name: &str, millis: u64) -> SessionRecord {
    let mut record = record_at(name, 0);
    record.idle_timeout = Some(Duration::from_millis(millis));
    record
}

/// Creates a session of Ann on a kind of device, which begins `millis` after [`NOW`].
fn on(kind: Option<DeviceKind>, millis: u64) -> SessionRecord {
    let mut record = record_at("ann", millis);
    let mut client = ClientInfo::default();
    client.device.kind = kind;
    record.client = Arc::new(client);
    record
}

/// Creates a session of a user on a device.
fn on_device(name: &str, device: DeviceId) -> SessionRecord {
    let mut record = full(name);
    record.device_id = Some(device);
    record
}

/// Finds another user in the same shard, so that one id is valid for both.
fn neighbour(name: &str) -> UserId {
    let shard = user(name).shard();
    let mut others = (0_u32..).map(UserId::from);
    others.find(|other| other.shard() == shard).expect("1,024 shards, and more users")
}

/// Returns the end of a session at its deadline.
fn expired(reason: EndReason, at: Timestamp) -> Ended {
    Ended::new(reason, at, Actor::System)
}

/// Returns the end of a session that a limit evicts.
fn evicted(limit: &SessionLimit) -> Ended {
    Ended::new(EndReason::LimitEvicted, limit.now, Actor::System)
}

/// Returns a limit that no case reaches.
fn roomy() -> SessionLimit {
    limit(1_000, OnExceed::Refuse, 1)
}

/// Returns the sorted ids of the records of a case.
fn ids_of<'a>(records: impl IntoIterator<Item = &'a SessionRecord>) -> Vec<SessionId> {
    let ids: BTreeSet<_> = records.into_iter().map(|record| record.id).collect();
    ids.into_iter().collect()
}

/// Stores new records, several at a time.
async fn given_all(h: &Harness, records: &[SessionRecord]) {
    for part in records.chunks(50) {
        join_all(part.iter().map(|record| h.given(record))).await;
    }
}

/// Stores a new record and ends it.
async fn given_ended(h: &Harness, record: &SessionRecord, ended: &Ended) {
    h.given(record).await;
    assert_eq!(h.end(&EndScope::id(record.id), ended).await, [record.id]);
}

async fn load(h: &Harness, ids: &[SessionId]) -> Records {
    h.store().load(ids).await.expect("load")
}

/// Loads sessions that must exist, in the order of the ids.
async fn load_all(h: &Harness, ids: &[SessionId]) -> Records {
    let mut stored = load(h, ids).await;
    stored.sort_unstable_by_key(|record| ids.iter().position(|id| *id == record.id));
    let found: Vec<_> = stored.iter().map(|record| record.id).collect();
    assert_eq!(found, ids, "a session is missing");
    stored
}

/// Ends the sessions in the scope, regardless of their creation time.
async fn end(h: &Harness, scope: &EndScope, ended: &Ended) -> Records {
    h.store().end(scope, ended, Timestamp::MAX).await.expect("end")
}

/// Applies touches that arrive at [`NOW`], when no session of a case has expired.
async fn apply(h: &Harness, batch: &[Touch]) -> u64 {
    apply_at(h, batch, NOW).await
}

/// Applies touches that arrive at `now`.
async fn apply_at(h: &Harness, batch: &[Touch], now: Timestamp) -> u64 {
    h.store().touch(batch, now).await.expect("touch")
}

async fn page(h: &Harness, query: &ListQuery) -> Page {
    h.store().list(query).await.expect("list")
}

async fn expire(h: &Harness, millis: u64, limit: usize) -> Records {
    h.store().expire(at(millis), limit).await.expect("expire")
}

async fn purge(h: &Harness, before: Timestamp, limit: usize) -> u64 {
    h.store().purge(before, limit).await.expect("purge")
}

async fn stats(h: &Harness, millis: u64) -> StoreStats {
    h.store().stats(at(millis)).await.expect("stats")
}

/// Returns the ids of a listing that fits one page, in the order of the listing.
async fn listed(h: &Harness, query: ListQuery) -> Vec<SessionId> {
    let page = page(h, &query.with_limit(MAX_PAGE)).await;
    assert!(page.next.is_none(), "a complete page has a next page");
    page.records.iter().map(|record| record.id).collect()
}

/// Returns the ids of a listing that fits one page, sorted.
async fn found(h: &Harness, query: ListQuery) -> Vec<SessionId> {
    let mut ids = listed(h, query).await;
    ids.sort_unstable();
    ids
}

/// Asserts that the store is empty.
async fn assert_empty(h: &Harness) {
    assert_eq!(found(h, ListQuery::default()).await, []);
}

/// Returns the sorted ids of a user's sessions that are live at `millis` after [`NOW`].
async fn live(h: &Harness, name: &str, millis: u64) -> Vec<SessionId> {
    found(h, ListQuery::default().with_user(user(name)).with_state(StateFilter::Live(at(millis)))).await
}

/// Asserts that two records are equal, and names the first field that differs.
#[track_caller]
fn assert_same(actual: &SessionRecord, expected: &SessionRecord) {
    macro_rules! fields {
        ($($field:ident)*) => {$(
            assert!(actual.$field == expected.$field, "the field `{}` differs", stringify!($field));
        )*};
    }
    fields!(id revision user_id username kind state created_at authenticated_at last_seen_at expires_at);
    fields!(idle_timeout remembered credential_version secret refresh auth client last_client device_id);
    fields!(label data);
    assert!(actual == expected, "a field differs");
}

/// Asserts that exactly this record is stored.
async fn assert_stored(h: &Harness, expected: &SessionRecord) {
    assert_same(&*h.loaded(expected.id).await, expected);
}

/// Asserts that exactly these records are stored under their ids; loads all of them at once.
async fn assert_all_stored<'a>(h: &Harness, expected: impl IntoIterator<Item = &'a SessionRecord>) {
    let expected: BTreeMap<_, _> = expected.into_iter().map(|record| (record.id, record)).collect();
    let ids: Vec<_> = expected.keys().copied().collect();
    for (stored, expected) in load_all(h, &ids).await.iter().zip(expected.values()) {
        assert_same(stored, expected);
    }
}

/// Asserts that a record is stored as ended, and that exactly this record was returned.
async fn assert_ended(h: &Harness, returned: &[Arc<SessionRecord>], before: &SessionRecord, ended: &Ended) {
    assert_eq!(ids(returned), [before.id]);
    let after = before.clone().into_ended(ended.clone());
    assert_same(&returned[0], &after);
    assert_stored(h, &after).await;
}

/// Asserts that a session is ended by the given end.
async fn assert_still_ended(h: &Harness, id: SessionId, ended: &Ended) {
    assert_eq!(h.loaded(id).await.ended(), Some(ended));
}

/// Changes a stored record and writes it back, and retries on a conflict, as the manager does.
///
/// # Errors
/// Those of the store, except a conflict.
async fn change(h: &Harness, id: SessionId, edit: impl Fn(&mut SessionRecord)) -> Result<Revision> {
    loop {
        let stored = h.loaded(id).await;
        if let Some(ended) = stored.ended() {
            return Err(Error::ended("case", "change", ended.clone()));
        }
        let mut record = SessionRecord::clone(&stored);
        edit(&mut record);
        match h.update(&record, stored.revision).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            result => return result,
        }
    }
}

/// Signs a session out.
async fn sign_out(h: &Harness, id: SessionId, millis: u64) -> Vec<SessionId> {
    h.end(&EndScope::id(id), &logged_out(millis)).await
}

/// Runs tasks that start at the same moment, and returns their results in the order of their
/// numbers.
async fn race<T, F>(h: &Harness, tasks: usize, task: impl Fn(usize, Harness) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(tasks));
    let start = |number| {
        let (barrier, task) = (Arc::clone(&barrier), task(number, h.clone()));
        tokio::spawn(async move {
            barrier.wait().await;
            task.await
        })
    };
    let running: Vec<_> = (0..tasks).map(start).collect();
    let mut results = Vec::new();
    for task in running {
        // A failed assertion in a task fails the case.
        results.push(task.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())));
    }
    results
}

/// Polls a future at most `polls` times, each time when it is ready to be polled, and drops it.
async fn abandon<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
