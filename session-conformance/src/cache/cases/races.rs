//! Races of many writers.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{entry, tombstone};
use crate::CacheHarness;
use crate::fixtures::{at, record};

const TASKS: u64 = 64;

/// Starts one task per number at the same moment, and returns their results in the order of the
/// numbers.
async fn race<T, F>(task: impl Fn(u64) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(usize::try_from(TASKS).expect("64")));
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let (start, work) = (Arc::clone(&start), task(number));
        tasks.spawn(async move {
            start.wait().await;
            (number, work.await)
        });
    }
    let mut results = tasks.join_all().await;
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Returns a number for each task, in an order that is independent of the start order.
fn shuffled(number: u64) -> u64 {
    number * 37 % TASKS + 1
}

/// Of 64 revisions that are put at once, the highest stays.
pub async fn race_of_puts_keeps_the_highest_revision(h: CacheHarness) {
    for round in 0..8 {
        let record = record(&format!("user{round}"));
        race(|number| {
            let (h, put) = (h.clone(), entry(&record, shuffled(number), at(number)));
            async move { h.put(&put).await }
        })
        .await;
        let stays = h.get(record.id).await.expect("an entry");
        assert_eq!(stays.revision.get(), TASKS, "an older revision replaced a newer one");
    }
}

/// Of 64 copies of one revision that are put at once, the one that was verified last stays.
pub async fn race_of_copies_keeps_the_latest_verified(h: CacheHarness) {
    for round in 0..8 {
        let record = record(&format!("user{round}"));
        race(|number| {
            let (h, put) = (h.clone(), entry(&record, 3, at(shuffled(number))));
            async move { h.put(&put).await }
        })
        .await;
        let stays = h.get(record.id).await.expect("an entry");
        assert_eq!(stays.verified_at, at(TASKS), "an earlier copy replaced a later one");
    }
}

/// The same entry, put 64 times at once, is stored once.
pub async fn race_of_one_entry_stores_it_once(h: CacheHarness) {
    let put = entry(&record("ann"), 3, at(0));
    let stored = race(|_| {
        let (h, put) = (h.clone(), put.clone());
        async move { h.put(&put).await }
    })
    .await;
    assert_eq!(stored.into_iter().filter(|stored| *stored).count(), 1);
    h.assert_holds(&put).await;
}

/// Of 64 tombstones that are put at once, one is stored, and only its put returns true.
pub async fn race_of_tombstones_stores_one(h: CacheHarness) {
    let record = record("ann");
    h.given(&entry(&record, 1, at(0))).await;
    let stored = race(|number| {
        let (h, end) = (h.clone(), tombstone(&record, 2, at(number)));
        async move { h.put(&end).await.then_some(end) }
    })
    .await;
    let stored: Vec<_> = stored.into_iter().flatten().collect();
    assert_eq!(stored.len(), 1, "more than one tombstone was stored");
    h.assert_holds(&stored[0]).await;
}

/// A tombstone that races against puts of newer revisions is there in the end.
pub async fn race_of_a_tombstone_against_puts_ends_in_the_tombstone(h: CacheHarness) {
    for round in 0..8 {
        let record = record(&format!("user{round}"));
        h.given(&entry(&record, 1, at(0))).await;
        let end = tombstone(&record, 2, at(1));
        race(|number| {
            let put = if number == 32 { end.clone() } else { entry(&record, 2 + shuffled(number), at(9)) };
            let h = h.clone();
            async move { h.put(&put).await }
        })
        .await;
        h.assert_holds(&end).await;
    }
}

/// A task that reads repeatedly never sees an older revision than before, and no record after the
/// tombstone.
pub async fn reads_among_writers_never_go_back(h: CacheHarness) {
    let record = record("ann");
    race(|number| {
        let (h, record) = (h.clone(), record.clone());
        async move {
            match number {
                0..16 => write(&h, &record, number).await,
                16 => assert!(h.put(&tombstone(&record, 1, at(1))).await),
                _ => read(&h, &record).await,
            }
        }
    })
    .await;
    h.assert_holds(&tombstone(&record, 1, at(1))).await;
}

async fn write(h: &CacheHarness, record: &session_core::SessionRecord, number: u64) {
    for step in 0..16 {
        h.put(&entry(record, 1 + step * 16 + number, at(0))).await;
        tokio::task::yield_now().await;
    }
}

async fn read(h: &CacheHarness, record: &session_core::SessionRecord) {
    let mut seen = None;
    for _ in 0..32 {
        if let Some(found) = h.get(record.id).await {
            let position = (found.is_tombstone(), found.revision);
            // The tombstone's own revision may be lower.
            let went_back = seen.is_some_and(|seen: (bool, _)| seen > position && !position.0);
            assert!(!went_back, "after {seen:?} came {position:?}");
            seen = Some(position);
        }
        tokio::task::yield_now().await;
    }
}
