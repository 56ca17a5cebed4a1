//! One writer per session: what several requests of this process change in one session goes to the
//! store as one write.
//!
//! The first change of a session starts a writer for it. Changes that come while it writes wait for
//! it; the next write holds all of them. A change that is refused (by a conflict on one key, for
//! example) costs itself and not the others. When another process came first, the record is read
//! again and all changes are applied again, for as long as their callers wait.
//!
//! | meets | how |
//! |---|---|
//! | other processes | the revision: a conflict is read again after a random pause that follows the measured round trip |
//! | an end | wins: all changes fail as `Ended`, and nothing is written |
//! | a lost reply | all changes fail with it; each knows under which mark it may have been written, see `save.rs` |
//! | a caller that is dropped | its change is left out of the next write, or is in it whole |
//! | a stale handle | a change that would change nothing, or that is refused, is judged again by what the store holds |
//! | a change that panics, or that the store refuses | costs itself only |
//! | tiers | a write goes through them like any other |

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::{Error, ErrorKind, Result, SaveMark, SessionId, SessionRecord};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::backend::Operation;
use crate::manager::Shared;

/// Most changes of one session that wait for its writer. Beyond that a change is refused as
/// unavailable at once.
const MAX_WAITING: usize = 1_000;

/// The shortest pause after a conflict is random below this, the longest below 64 times the round
/// trip.
const SHORTEST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_DOUBLING: u32 = 6;

/// Makes the record that is to be written of the one that is stored, under the mark of the write.
/// `None` if nothing has to be written.
pub(crate) type Change = Box<dyn FnMut(&SessionRecord, SaveMark) -> Result<Option<SessionRecord>> + Send>;

type Answer = Result<Arc<SessionRecord>>;

struct Job {
    start: Arc<SessionRecord>,
    change: Change,
    until: Instant,
    answer: oneshot::Sender<Answer>,
    verdict: Verdict,
}

/// What became of a change when it was applied last.
///
/// A copy may only confirm: unless the change is written, its caller is answered by a record that
/// was read from the store, or that a write beside it has shown to be the stored one.
enum Verdict {
    /// The record holds it already.
    Holds,
    Refused(Error),
    Writes,
}

/// What became of a write.
enum Tried {
    /// All callers have their answer; what is stored, if that is known.
    Answered(Option<Arc<SessionRecord>>),
    /// Another writer came first. These still wait.
    Conflict(Vec<Job>),
}

impl Job {
    fn writes(&self) -> bool {
        matches!(self.verdict, Verdict::Writes)
    }

    /// Whether anybody waits for the answer, and may still wait.
    fn counts(&self) -> bool {
        !self.answer.is_closed() && Instant::now() < self.until
    }
}

/// The sessions of this process that are being written, with the changes that wait.
#[derive(Default)]
pub(crate) struct Writers {
    waiting: Mutex<HashMap<SessionId, Vec<Job>>>,
}

impl Writers {
    /// Adds a change. Returns true if the caller has to start a writer.
    fn add(&self, id: SessionId, job: Job) -> Result<bool> {
        let mut waiting = self.waiting.lock();
        match waiting.get_mut(&id) {
            Some(jobs) if jobs.len() >= MAX_WAITING => Err(Error::unavailable("manager", "update")
                .with_detail("too many changes of one session wait for the store")),
            Some(jobs) => {
                jobs.push(job);
                Ok(false)
            }
            None => {
                waiting.insert(id, vec![job]);
                Ok(true)
            }
        }
    }

    /// Takes what waits. If that is nothing, the writer is done.
    fn take(&self, id: SessionId) -> Vec<Job> {
        let mut waiting = self.waiting.lock();
        let jobs = waiting.get_mut(&id).map(std::mem::take).unwrap_or_default();
        if jobs.is_empty() {
            waiting.remove(&id);
        }
        jobs
    }
}

/// A session's writer. If it is dropped before it is done, with its runtime or by a panic, callers
/// that wait get an error instead of waiting for nothing, and the next change starts another one.
struct Writing {
    shared: Arc<Shared>,
    id: SessionId,
    is_done: bool,
}

impl Writing {
    async fn run(mut self) {
        let mut known: Option<Arc<SessionRecord>> = None;
        loop {
            let jobs = self.shared.writers.take(self.id);
            if jobs.is_empty() {
                self.is_done = true;
                return;
            }
            known = self.shared.write_all(jobs, known).await;
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.is_done {
            let dropped = self.shared.writers.waiting.lock().remove(&self.id);
            drop(dropped);
        }
    }
}

impl Shared {
    /// Writes a changed record, based on what is stored.
    pub(crate) async fn modify(
        self: &Arc<Self>,
        operation: &mut Operation<'_>,
        start: Arc<SessionRecord>,
        mut change: impl FnMut(&SessionRecord) -> Result<Option<SessionRecord>> + Send + 'static,
    ) -> Result<Arc<SessionRecord>> {
        self.modify_marked(operation, start, Box::new(move |record, _| change(record))).await
    }

    /// The same for a change that is interested in the mark of its write.
    pub(crate) async fn modify_marked(
        self: &Arc<Self>,
        operation: &mut Operation<'_>,
        start: Arc<SessionRecord>,
        change: Change,
    ) -> Answer {
        let (answer, answered) = oneshot::channel();
        let id = start.id;
        let job = Job { start, change, until: operation.deadline(), answer, verdict: Verdict::Writes };
        if self.writers.add(id, job)? {
            let writing = Writing { shared: Arc::clone(self), id, is_done: false };
            self.tasks.spawn(writing.run());
        }
        operation.wait("update", answered).await
    }

    /// Makes one write of all changes. Returns what is stored then, as far as that is known.
    async fn write_all(
        &self,
        mut jobs: Vec<Job>,
        known: Option<Arc<SessionRecord>>,
    ) -> Option<Arc<SessionRecord>> {
        let starts = jobs.iter().map(|job| &job.start).chain(&known);
        let mut current = Arc::clone(starts.max_by_key(|record| record.revision)?);
        let mut trips = 0;
        // Whether the record was read from the store of record after the changes came.
        let mut is_read = false;
        loop {
            jobs.retain(Job::counts);
            let next = merge(&mut jobs, &current, fresh_mark());
            if jobs.is_empty() {
                return Some(current);
            }
            if jobs.iter().any(Job::writes) {
                match self.try_write(jobs, next, &current, trips).await {
                    Tried::Answered(stored) => return stored,
                    Tried::Conflict(left) => jobs = left,
                }
                trips += 1;
            } else if is_read {
                answer(jobs, &current);
                return Some(current);
            }
            jobs.extend(self.writers.take_more(current.id));
            match self.backend.operation().load_active(current.id).await {
                Ok(record) => (current, is_read) = (record, true),
                Err(error) => {
                    fail(jobs, &error);
                    return None;
                }
            }
            jobs = late(jobs, &current, Instant::now());
        }
    }

    /// Makes one write, and answers all unless another writer came first.
    async fn try_write(
        &self,
        jobs: Vec<Job>,
        next: SessionRecord,
        current: &Arc<SessionRecord>,
        trips: u32,
    ) -> Tried {
        let began = Instant::now();
        match self.backend.operation().store(next, current.revision).await {
            // The write shows that the record was the stored one.
            Ok(written) => {
                answer(jobs, &written);
                Tried::Answered(Some(written))
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let again = after_pause(trips, began);
                // The next try needs time too. At the deadline itself the answer would be a
                // timeout, which explains less.
                let jobs = late(jobs, current, again + SHORTEST_PAUSE);
                if jobs.is_empty() {
                    return Tried::Answered(None);
                }
                sleep_until(again).await;
                Tried::Conflict(jobs)
            }
            Err(error) if is_refusal(&error) && jobs.len() > 1 => {
                self.write_singly(jobs, Arc::clone(current)).await;
                Tried::Answered(None)
            }
            Err(error) => {
                fail(jobs, &error);
                Tried::Answered(None)
            }
        }
    }

    /// Writes changes one by one: the store refused them together, and one of them must not cost
    /// the others.
    async fn write_singly(&self, jobs: Vec<Job>, mut known: Arc<SessionRecord>) {
        for job in jobs {
            let written = Box::pin(self.write_all(vec![job], Some(Arc::clone(&known)))).await;
            known = written.unwrap_or(known);
        }
    }
}

impl Writers {
    /// Takes what waits without ending the writer.
    fn take_more(&self, id: SessionId) -> Vec<Job> {
        self.waiting.lock().get_mut(&id).map(std::mem::take).unwrap_or_default()
    }
}

/// Whether the store refuses what is to be written, as against a failure or a session that does not
/// live.
fn is_refusal(error: &Error) -> bool {
    !error.is_transient() && !matches!(error.kind(), ErrorKind::Ended | ErrorKind::NotFound)
}

/// Applies all changes one after the other, and notes of each what became of it. One that panics is
/// answered at once.
fn merge(jobs: &mut Vec<Job>, current: &Arc<SessionRecord>, mark: SaveMark) -> SessionRecord {
    let mut next = SessionRecord::clone(current);
    for mut job in std::mem::take(jobs) {
        let change = AssertUnwindSafe(|| (job.change)(&next, mark));
        job.verdict = match catch_unwind(change) {
            Ok(Ok(Some(changed))) => {
                next = changed;
                Verdict::Writes
            }
            // What it wants is stored, or will be with the others' write.
            Ok(Ok(None)) => Verdict::Holds,
            Ok(Err(error)) => Verdict::Refused(error),
            Err(_) => {
                let error = Error::new(ErrorKind::Other, "manager", "update");
                fail(vec![job], &error.with_detail("the function that computes the change panicked"));
                continue;
            }
        };
        jobs.push(job);
    }
    next
}

/// Answers those whose time is over at `now` after conflicts, and returns the others.
fn late(jobs: Vec<Job>, current: &SessionRecord, now: Instant) -> Vec<Job> {
    let (jobs, late): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| now < job.until);
    let error = Error::conflict("manager", "update", current.revision);
    fail(late, &error.with_detail("other writers kept coming first"));
    jobs
}

/// Answers with what is stored, or with why a change is refused. A caller that is gone needs none.
fn answer(jobs: Vec<Job>, stored: &Arc<SessionRecord>) {
    for job in jobs {
        let answer = match job.verdict {
            Verdict::Refused(error) => Err(error),
            Verdict::Holds | Verdict::Writes => Ok(Arc::clone(stored)),
        };
        drop(job.answer.send(answer));
    }
}

fn fail(jobs: Vec<Job>, error: &Error) {
    jobs.into_iter().for_each(|job| drop(job.answer.send(Err(error.clone()))));
}

/// A mark that no other write has.
pub(crate) fn fresh_mark() -> SaveMark {
    SaveMark::new(fastrand::u32(1..)).unwrap_or(SaveMark::MIN)
}

/// When to try again: conflicting writers must not meet once more, and a slow store needs longer
/// pauses.
fn after_pause(trips: u32, began: Instant) -> Instant {
    let trip = began.elapsed().max(SHORTEST_PAUSE);
    Instant::now() + trip.mul_f64(fastrand::f64() * f64::from(1_u32 << trips.min(LONGEST_DOUBLING)))
}
