//! Races of writes and reads of one session: no write is lost, and no read sees half of one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use session_core::{
    ErrorKind, LastClient, ListQuery, Revision, SessionId, SessionRecord, StateFilter, Touch,
};

use super::{
    TASKS, apply, assert_all_stored, assert_same, assert_stored, change, found, given_all, idle, ids_of,
    load, page, race, several,
};
use crate::fixtures::{anonymous, at, full, id_at, record, record_at, touch, user};
use crate::harness::{Harness, ids};

/// Returns the label that a task writes.
fn label(number: usize) -> Option<String> {
    Some(format!("task {number}"))
}

/// Sets all fields that an update may write to values of one number, so that a store that splits
/// them is detected.
fn stamp(record: &mut SessionRecord, number: usize) {
    record.label = label(number);
    record.username = label(number);
    record.credential_version = Some(number as u64);
    record.data = number.to_string().repeat(800).into_bytes().into();
}

/// Asserts that one task wrote all of a record.
#[track_caller]
fn assert_one_stamp(record: &SessionRecord) {
    assert_same(record, &stamped_like(record));
}

/// Asserts the same of a listed record, which has no data.
#[track_caller]
fn assert_one_stamp_without_data(record: &SessionRecord) {
    assert_same(record, &stamped_like(record).redacted());
}

fn stamped_like(record: &SessionRecord) -> SessionRecord {
    let mut expected = record.clone();
    let number = record.credential_version.and_then(|number| usize::try_from(number).ok());
    stamp(&mut expected, number.expect("a number"));
    expected
}

/// Of many creates of one id exactly one succeeds, and its record is stored. Catches "look up, then
/// insert".
pub async fn parallel_creates_of_one_id_have_one_winner(h: Harness) {
    let record = full("ann");
    let answers = race(&h, TASKS, |number, h| {
        let mut record = record.clone();
        record.label = label(number);
        async move { h.store().create(Arc::new(record), None).await.map_err(|error| error.kind()) }
    });
    let answers = answers.await;
    let winners: Vec<_> = (0..TASKS).filter(|number| answers[*number].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{} creates of one id succeeded", winners.len());
    assert!(
        answers.iter().flat_map(|answer| answer.as_ref().err()).all(|kind| *kind == ErrorKind::AlreadyExists)
    );
    assert_eq!(h.loaded(record.id).await.label, label(winners[0]));
}

/// Of many updates of one revision exactly one succeeds; the others receive the new revision.
pub async fn parallel_updates_of_one_revision_have_one_winner(h: Harness) {
    let record = full("ann");
    h.given(&record).await;
    let answers = race(&h, TASKS, |number, h| {
        let mut record = record.clone();
        record.label = label(number);
        async move { h.update(&record, Revision::FIRST).await }
    });
    let second = Revision::FIRST.next();
    let mut winners = Vec::new();
    for (number, answer) in answers.await.into_iter().enumerate() {
        match answer {
            Ok(revision) => {
                assert_eq!(revision, second);
                winners.push(number);
            }
            Err(error) => {
                assert_eq!((error.kind(), error.current_revision()), (ErrorKind::Conflict, Some(second)));
            }
        }
    }
    assert_eq!(winners.len(), 1, "{} updates of one revision succeeded", winners.len());
    let stored = h.loaded(record.id).await;
    assert_eq!((stored.revision, &stored.label), (second, &label(winners[0])));
}

/// Writers that each add a distinct value, and retry on a conflict, lose none of them.
pub async fn parallel_writers_lose_no_update(h: Harness) {
    const WRITERS: usize = 32;
    let record = anonymous();
    h.given(&record).await;
    let done = race(&h, WRITERS, |number, h| async move {
        let add = |record: &mut SessionRecord| {
            let mut data = record.data.to_vec();
            data.push(u8::try_from(number).expect("a small number"));
            record.data = data.into();
        };
        change(&h, record.id, add).await.expect("update")
    });
    let revisions: BTreeSet<_> = done.await.into_iter().collect();
    assert_eq!(revisions.len(), WRITERS, "two updates got one revision");
    let stored = h.loaded(record.id).await;
    let mut written = stored.data.to_vec();
    written.sort_unstable();
    assert_eq!(written, (0..32).collect::<Vec<u8>>());
    assert_eq!(stored.revision.get(), 1 + WRITERS as u64);
}

/// Touches in any order leave the latest one, with its own client.
pub async fn parallel_touches_leave_the_latest(h: Harness) {
    let mut sessions = several("ann", 4);
    given_all(&h, &sessions).await;
    let all = ids_of(&sessions);
    let client = |millis: u64| LastClient::new(format!("192.0.2.{millis}").parse().ok(), None);
    let moved = race(&h, TASKS, |number, h| {
        let millis = 100 + (number as u64 * 29) % TASKS as u64;
        let batch: Vec<_> = all.iter().map(|id| Touch::new(*id, at(millis), client(millis))).collect();
        async move { apply(&h, &batch).await }
    });
    let moved: u64 = moved.await.into_iter().sum();
    assert!((4..=4 * TASKS as u64).contains(&moved), "{moved} moves");
    for session in &mut sessions {
        (session.last_seen_at, session.last_client) = (at(163), client(163));
    }
    assert_all_stored(&h, &sessions).await;
}

/// Concurrent saves and touches are both kept, although the save read the record before the touch.
pub async fn updates_and_touches_lose_nothing(h: Harness) {
    let record = idle("ann", 60_000);
    h.given(&record).await;
    let saved = race(&h, TASKS, |number, h| async move {
        if number % 4 > 0 {
            apply(&h, &[touch(record.id, number as u64)]).await;
            return 0;
        }
        let add = |record: &mut SessionRecord| {
            let mut data = record.data.to_vec();
            data.push(1);
            record.data = data.into();
        };
        change(&h, record.id, add).await.expect("update");
        1
    });
    let saved: usize = saved.await.into_iter().sum();
    let stored = h.loaded(record.id).await;
    assert_eq!((stored.data.len(), stored.revision.get()), (saved, 1 + saved as u64));
    assert_eq!((stored.last_seen_at, &stored.last_client), (at(63), &touch(record.id, 63).last_client));
}

/// A reader sees a record before or after a write, never some fields of each.
pub async fn load_and_list_never_see_half_a_write(h: Harness) {
    let mut record = full("ann");
    stamp(&mut record, 0);
    h.given(&record).await;
    let id = record.id;
    race(&h, TASKS, |number, h| async move {
        if number % 8 == 0 {
            change(&h, id, |record| stamp(record, number)).await.expect("update");
            return;
        }
        for _ in 0..4 {
            assert_one_stamp(&*h.loaded(id).await);
            for listed in page(&h, &ListQuery::default().with_user(user("ann"))).await.records {
                assert_one_stamp_without_data(&listed);
            }
        }
    })
    .await;
}

/// The time and client of a touch are written together: a reader never sees the time of one touch
/// and the client of another.
pub async fn load_never_sees_half_a_touch(h: Harness) {
    let touch_of = |id: SessionId, number: u64| {
        let client = LastClient::new(format!("192.0.2.{number}").parse().ok(), None);
        Touch::new(id, at(number), client)
    };
    let mut record = record("ann");
    record.last_client = touch_of(record.id, 0).last_client;
    h.given(&record).await;
    let id = record.id;
    race(&h, TASKS, |number, h| async move {
        if number % 2 == 0 {
            apply(&h, &[touch_of(id, number as u64)]).await;
            return;
        }
        for _ in 0..4 {
            let stored = h.loaded(id).await;
            let millis = stored.last_seen_at.since(at(0)).as_millis();
            let expected = touch_of(id, u64::try_from(millis).expect("a small number"));
            assert_eq!(stored.last_client, expected.last_client);
        }
    })
    .await;
}

/// A session that is being created is absent or complete, and it is listed as soon as it can be
/// loaded.
pub async fn load_never_sees_half_a_create(h: Harness) {
    let records: Vec<_> = (0..8)
        .map(|number| {
            let mut record = full("ann");
            stamp(&mut record, number);
            record
        })
        .collect();
    let all = ids_of(&records);
    race(&h, TASKS, |number, h| {
        let (record, all) = (records[number % 8].clone(), all.clone());
        async move {
            if number < 8 {
                h.given(&record).await;
                return;
            }
            for _ in 0..4 {
                let found = load(&h, &all).await;
                found.iter().for_each(|record| assert_one_stamp(record));
                let listed = ids(&page(&h, &ListQuery::default().with_user(user("ann"))).await.records);
                assert!(found.iter().all(|record| listed.contains(&record.id)), "loaded but not listed");
            }
        }
    })
    .await;
    assert_eq!(ids(&load(&h, &all).await), all);
}

/// Every other task sees a write as soon as the writer notifies it. Catches caches per connection
/// and replicas.
pub async fn writes_are_seen_by_other_tasks_at_once(h: Harness) {
    let records = several("ann", TASKS / 2);
    race(&h, TASKS / 2, |number, h| {
        let mut record = records[number].clone();
        async move {
            h.given(&record).await;
            for round in 0..3 {
                stamp(&mut record, round);
                record.revision = h.update(&record, record.revision).await.expect("update");
                let (h, expected) = (h.clone(), record.clone());
                tokio::spawn(async move { assert_stored(&h, &expected).await }).await.expect("the reader");
            }
        }
    })
    .await;
}

/// Batches that name the same sessions in opposite orders may wait for each other, but all succeed.
/// Catches deadlocks.
pub async fn batches_in_opposite_orders_do_not_deadlock(h: Harness) {
    let sessions = several("ann", 40);
    given_all(&h, &sessions).await;
    let all = ids_of(&sessions);
    race(&h, TASKS / 2, |number, h| {
        let mut all = all.clone();
        if number % 2 == 0 {
            all.reverse();
        }
        all.rotate_left(number);
        async move {
            for round in 0..3 {
                let batch: Vec<_> = all.iter().map(|id| touch(*id, 100 * round + number as u64)).collect();
                apply(&h, &batch).await;
            }
        }
    })
    .await;
    let stored = load(&h, &all).await;
    assert!(stored.iter().all(|record| record.last_seen_at == at(231)), "a touch was lost");
}

/// Reading all pages shows every earlier session once and in order, while others sign in.
pub async fn pages_are_right_while_sessions_begin(h: Harness) {
    let before: Vec<_> = (0..20).map(|number| record_at("ann", 10 * number)).collect();
    given_all(&h, &before).await;
    let known = ids_of(&before);
    let creating = Arc::new(AtomicBool::new(true));
    race(&h, TASKS / 2, |number, h| {
        let (known, creating) = (known.clone(), Arc::clone(&creating));
        async move {
            if number % 8 > 0 {
                for round in 0..3 {
                    h.given(&record_at("ann", (number as u64 * 7 + round * 31) % 200)).await;
                }
                creating.store(false, Ordering::Relaxed);
                return;
            }
            while creating.load(Ordering::Relaxed) {
                assert_pages(&h, &known).await;
                tokio::task::yield_now().await;
            }
            assert_pages(&h, &known).await;
        }
    })
    .await;
}

async fn assert_pages(h: &Harness, known: &[SessionId]) {
    let live = StateFilter::Live(at(300));
    let mut query = ListQuery::default().with_user(user("ann")).with_state(live).with_limit(15);
    let mut seen = Vec::new();
    loop {
        let page = page(h, &query).await;
        seen.extend(page.records.iter().map(|record| (record.created_at, record.id)));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert!(seen.is_sorted_by(|one, next| one > next), "the pages are out of order or repeat a session");
    let seen: BTreeSet<_> = seen.into_iter().map(|(_, id)| id).collect();
    assert!(known.iter().all(|id| seen.contains(id)), "the pages miss a session");
}

/// Creates of different sessions do not affect each other, regardless of their users.
pub async fn parallel_creates_of_different_ids_all_succeed(h: Harness) {
    let created = race(&h, TASKS, |number, h| async move {
        let name = format!("user {}", number % 5);
        let mut record = record(&name);
        if number % 7 == 0 {
            (record.user_id, record.id) = (None, id_at(record.created_at, None));
        }
        stamp(&mut record, number);
        h.given(&record).await;
        record
    });
    assert_all_stored(&h, &created.await).await;
    assert_eq!(found(&h, ListQuery::default()).await.len(), TASKS);
}
