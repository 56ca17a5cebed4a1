//! Races against `end`: it wins, and each end is reported once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use session_core::{Actor, DeviceId, EndReason, EndScope, Ended, ErrorKind, SessionRecord};

use super::{
    Records, TASKS, apply, assert_all_stored, assert_same, change, end, given_all, ids_of, race, roomy,
    several,
};
use crate::fixtures::{at, full, full_at, id_at, logged_out, record_at, touch, user};
use crate::harness::{Harness, ids};

/// The number of sessions in a race, each with eight tasks.
const SESSIONS: usize = TASKS / 8;

/// Asserts that every record is ended, and stored exactly as the call that ended it returned it.
async fn assert_stored_as_returned(h: &Harness, returned: &Records) {
    assert!(returned.iter().all(|record| record.ended().is_some()), "a returned record is not ended");
    assert_all_stored(h, returned.iter().map(|record| &**record)).await;
}

/// Runs seven tasks against one that ends the session, for several sessions at once. Each task
/// receives a flag that is set after the end has returned. Returns the results of the ends.
async fn against_end<F>(
    h: &Harness,
    task: impl Fn(usize, Harness, SessionRecord, Arc<AtomicBool>) -> F,
) -> Records
where
    F: Future<Output = ()> + Send + 'static,
{
    let sessions: Vec<_> = (0..SESSIONS).map(|_| full("ann")).collect();
    given_all(h, &sessions).await;
    let over: Vec<_> = sessions.iter().map(|_| Arc::new(AtomicBool::new(false))).collect();
    let returned = race(h, TASKS, |number, h| {
        let (session, over) = (sessions[number % SESSIONS].clone(), Arc::clone(&over[number % SESSIONS]));
        // The task that ends a session is neither the first nor the last to run.
        let ends = number / SESSIONS == 3;
        let other = (!ends).then(|| task(number, h.clone(), session.clone(), Arc::clone(&over)));
        async move {
            if let Some(other) = other {
                other.await;
                return Records::new();
            }
            let returned = end(&h, &EndScope::id(session.id), &logged_out(5_000)).await;
            over.store(true, Ordering::SeqCst);
            returned
        }
    });
    let returned: Records = returned.await.into_iter().flatten().collect();
    assert_eq!(ids(&returned), ids_of(&sessions), "an end did not end its session");
    returned
}

/// Saves race against sign-outs. Afterwards all sessions are ended as the end returned them, and no
/// save that began after the end has succeeded.
pub async fn updates_never_undo_an_end(h: Harness) {
    let returned = against_end(&h, |number, h, session, over| async move {
        for round in 0..6 {
            let late = over.load(Ordering::SeqCst);
            let edit = |record: &mut SessionRecord| record.label = Some(format!("{number} {round}"));
            match change(&h, session.id, edit).await {
                Ok(_) => assert!(!late, "an update succeeded after the end returned"),
                Err(error) => {
                    assert_eq!(
                        (error.kind(), error.ended_session()),
                        (ErrorKind::Ended, Some(&logged_out(5_000)))
                    );
                }
            }
        }
    });
    assert_stored_as_returned(&h, &returned.await).await;
}

/// Touches race against sign-outs. None updates an ended session or alters its history.
pub async fn touches_never_undo_an_end(h: Harness) {
    let returned = against_end(&h, |number, h, session, over| async move {
        for round in 0..6 {
            let late = over.load(Ordering::SeqCst);
            let moved = apply(&h, &[touch(session.id, 1 + 100 * round + number as u64)]).await;
            assert!(!late || moved == 0, "a touch moved an ended session");
        }
    });
    assert_stored_as_returned(&h, &returned.await).await;
}

/// Creates of the same id race against sign-outs. None revives the session.
pub async fn creates_never_undo_an_end(h: Harness) {
    let returned = against_end(&h, |number, h, session, _| async move {
        for _ in 0..4 {
            let limit = roomy();
            let limit = (number % 2 == 0).then_some(&limit);
            let answer = h.store().create(Arc::new(session.clone()), limit).await;
            assert_eq!(answer.map_err(|error| error.kind()), Err(ErrorKind::AlreadyExists));
        }
    });
    assert_stored_as_returned(&h, &returned.await).await;
}

/// No reader sees an ended session active again, regardless of concurrent writes.
pub async fn no_reader_sees_an_ended_session_active_again(h: Harness) {
    let returned = against_end(&h, |number, h, session, over| async move {
        let mut gone = false;
        for round in 0..8 {
            if number % 2 == 0 {
                let edit = |record: &mut SessionRecord| record.label = Some(round.to_string());
                let _ = change(&h, session.id, edit).await;
                apply(&h, &[touch(session.id, 1 + round)]).await;
            }
            gone |= over.load(Ordering::SeqCst);
            let ended = h.loaded(session.id).await.ended().is_some();
            assert!(ended || !gone, "an ended session was seen active");
            gone |= ended;
        }
    });
    assert_stored_as_returned(&h, &returned.await).await;
}

/// Of many ends of one session, with different reasons, one counts: the one that returned it.
pub async fn parallel_ends_of_one_session_have_one_winner(h: Harness) {
    let session = full("ann");
    h.given(&session).await;
    let answers = race(&h, TASKS, |number, h| async move {
        let reason = EndReason::ALL[number % EndReason::ALL.len()];
        let by = Actor::Admin(user(&format!("admin {number}")));
        end(&h, &EndScope::id(session.id), &Ended::new(reason, at(number as u64), by)).await
    });
    let answers = answers.await;
    let returned: Records = answers.into_iter().flatten().collect();
    assert_eq!(ids(&returned), [session.id], "one session ended several times");
    let ended = returned[0].ended().expect("it is ended").clone();
    assert_same(&returned[0], &session.into_ended(ended));
    assert_stored_as_returned(&h, &returned).await;
}

/// Ends of overlapping scopes together return each session once. Catches two events for one end.
pub async fn parallel_ends_of_overlapping_scopes_return_each_session_once(h: Harness) {
    let mut sessions = several("ann", 24);
    let device = DeviceId::from_bytes([0x5a; 16]);
    for session in sessions.iter_mut().step_by(2) {
        session.device_id = Some(device);
    }
    given_all(&h, &sessions).await;
    let all = ids_of(&sessions);
    let answers = race(&h, TASKS, |number, h| {
        let some: Vec<_> = all.iter().rev().cycle().skip(number).take(9).copied().collect();
        let scope = match number % 4 {
            0 => EndScope::Ids(some),
            1 => EndScope::Device { user: user("ann"), device },
            2 => EndScope::UserExcept { user: user("ann"), keep: some[0] },
            _ => EndScope::User(user("ann")),
        };
        async move { end(&h, &scope, &logged_out(number as u64)).await }
    });
    let returned: Records = answers.await.into_iter().flatten().collect();
    assert_eq!(ids(&returned), all);
    assert_stored_as_returned(&h, &returned).await;
}

/// Batches that end the same sessions in opposite orders do not deadlock, also beside touches of
/// them.
pub async fn parallel_ends_in_opposite_orders_do_not_deadlock(h: Harness) {
    let sessions: Vec<_> =
        (0..64).map(|number| record_at(["ann", "bob"][number % 2], number as u64)).collect();
    given_all(&h, &sessions).await;
    let all = ids_of(&sessions);
    let answers = race(&h, TASKS / 2, |number, h| {
        let mut some = all.clone();
        some.rotate_left(2 * number);
        if number % 2 == 0 {
            some.reverse();
        }
        async move {
            if number % 4 == 3 {
                let batch: Vec<_> = some.iter().map(|id| touch(*id, 100 + number as u64)).collect();
                apply(&h, &batch).await;
                return Records::new();
            }
            some.truncate(40);
            end(&h, &EndScope::Ids(some), &logged_out(1)).await
        }
    });
    let returned: Records = answers.await.into_iter().flatten().collect();
    assert_eq!(ids(&returned), all);
    assert_stored_as_returned(&h, &returned).await;
}

/// Signing a user out everywhere reaches every session whose create returned before, while the user
/// signs in elsewhere; no session is returned twice. Catches a list of sessions that is read first
/// and ended later.
pub async fn end_of_a_user_reaches_every_session_created_before_it(h: Harness) {
    // A counter of events that defines "before": creates take a number after they have returned,
    // ends before they begin.
    let order = Arc::new(AtomicUsize::new(0));
    let outcomes = race(&h, TASKS, |number, h| {
        let order = Arc::clone(&order);
        async move {
            if number % 13 == 7 {
                let begun = order.fetch_add(1, Ordering::SeqCst);
                return Err((begun, end(&h, &EndScope::User(user("ann")), &logged_out(1)).await));
            }
            let record = record_at("ann", number as u64);
            match number % 2 {
                0 => drop(h.create(&record, &roomy()).await.expect("create")),
                _ => drop(h.given(&record).await),
            }
            Ok((order.fetch_add(1, Ordering::SeqCst), record.id))
        }
    });
    let (mut created, mut returned, mut last_end) = (Vec::new(), Records::new(), 0);
    for outcome in outcomes.await {
        match outcome {
            Ok(create) => created.push(create),
            Err((begun, ended)) => {
                last_end = last_end.max(begun);
                returned.extend(ended);
            }
        }
    }
    let mut over = ids(&returned);
    over.dedup();
    assert_eq!(over.len(), returned.len(), "a session was returned twice");
    for (finished, id) in &created {
        let ended = h.loaded(*id).await.ended().is_some();
        assert!(ended || *finished > last_end, "a session that was created before the end is live");
        assert_eq!(ended, over.contains(id), "a session ended without being returned");
    }
    assert_stored_as_returned(&h, &returned).await;
}

/// Signs Ann in repeatedly, each time later than the bound of the concurrent ends.
async fn sign_in_again(h: &Harness, number: usize) -> Vec<SessionRecord> {
    let mut created = Vec::new();
    for round in 0..4 {
        let mut record = full_at("ann", 1_001 + 100 * round + number as u64);
        record.device_id = Some(DEVICE);
        // Lets the first ends begin before.
        tokio::task::yield_now().await;
        h.given(&record).await;
        created.push(record);
    }
    created
}

const DEVICE: DeviceId = DeviceId::from_bytes([0x5a; 16]);

/// An end that is repeated with its bound, as by a queue after a lost reply, races against
/// sign-ins. It ends the sessions that were created up to its bound, once, and no other.
pub async fn repeated_ends_spare_every_later_sign_in(h: Harness) {
    let mut early: Vec<_> = (0..20).map(|number| full_at("ann", 50 * number)).collect();
    early.iter_mut().for_each(|record| record.device_id = Some(DEVICE));
    given_all(&h, &early).await;
    let answers = race(&h, TASKS, |number, h| async move {
        if number % 4 != 3 {
            return (Records::new(), sign_in_again(&h, number).await);
        }
        let scope = match number % 3 {
            0 => EndScope::User(user("ann")),
            1 => EndScope::UserExcept { user: user("ann"), keep: id_at(at(0), None) },
            _ => EndScope::Device { user: user("ann"), device: DEVICE },
        };
        let mut returned = Records::new();
        for _ in 0..4 {
            returned.extend(h.store().end(&scope, &logged_out(2_000), at(1_000)).await.expect("end"));
            tokio::task::yield_now().await;
        }
        (returned, Vec::new())
    });
    let (mut returned, mut later) = (Records::new(), Vec::new());
    for (ended, created) in answers.await {
        returned.extend(ended);
        later.extend(created);
    }
    assert_eq!(ids(&returned), ids_of(&early));
    assert_stored_as_returned(&h, &returned).await;
    assert_all_stored(&h, &later).await;
}
