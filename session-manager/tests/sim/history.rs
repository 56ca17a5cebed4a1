//! What was asked, when, and what was answered.

use std::fmt;
use std::time::Duration;

use session_core::{ErrorKind, SessionId, Timestamp};
use session_manager::Source;

use crate::store::Store;
use crate::world::{Sim, Time};

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Validate,
    Authoritative,
    Ensure,
    External,
    /// A token with the id of an external session, which may not exist yet. It is never right.
    Probe,
    Save,
    Rotate,
    Logout,
    Revoke,
    RevokeOthers,
    RevokeAll,
    Sweep,
    /// A sign-in that replaces a session.
    SignIn,
    Refresh,
    /// From where a rule denies it.
    RefreshOutside,
    ValidateOutside,
    /// With the token of another tenant's session.
    Foreign,
}

impl Call {
    /// Whether it opens a session by what this node knows.
    pub(crate) const fn is_cached_read(self) -> bool {
        matches!(self, Self::Validate | Self::External | Self::Probe | Self::Ensure)
    }

    pub(crate) const fn is_refresh(self) -> bool {
        matches!(self, Self::Refresh | Self::RefreshOutside)
    }

    /// Whether it opens a session and changes nothing; but a validation may rotate.
    pub(crate) const fn is_read(self) -> bool {
        matches!(self, Self::Authoritative | Self::External | Self::Probe)
    }
}

/// What a call is about, besides a session and a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    None,
    /// Writes a key that no other call writes.
    Saves(u32),
    /// Takes the place of a session.
    Replaces(SessionId),
    /// Signs a user in whose password was checked under a version of their credentials, if one is
    /// named.
    Version(usize, Option<u64>),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Live {
        revision: u64,
        seen: Timestamp,
        source: Source,
        verified_at: Timestamp,
        degraded: bool,
    },
    Rejected(&'static str),
    Unavailable(ErrorKind),
    Done,
    Failed(ErrorKind),
    /// The caller went away.
    Dropped,
    /// The process died.
    Crashed,
    /// It took so long that it must be called hanging.
    Hung,
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) start: Time,
    pub(crate) end: Time,
    pub(crate) node: usize,
    pub(crate) life: u32,
    pub(crate) call: Call,
    pub(crate) session: Option<SessionId>,
    pub(crate) token: Option<String>,
    pub(crate) detail: Detail,
    pub(crate) answer: Answer,
    /// What the node's clock showed, at the least and at the most.
    pub(crate) wall: (Timestamp, Timestamp),
    /// Since when every shared cache held the tombstone when the call began; the time of the end
    /// itself if there is no cache.
    pub(crate) buried: Option<Time>,
    /// Whether the store gave this node trouble shortly before or meanwhile.
    pub(crate) trouble: bool,
}

/// Something that must not happen and did.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) session: Option<SessionId>,
    pub(crate) at: Time,
    pub(crate) what: String,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end, node, life, call, session, answer, detail, .. } = self;
        let short = session.map(|id| id.to_string()[19..].to_owned()).unwrap_or_default();
        write!(
            f,
            "{:>6}..{:<6} n{node}.{life} {short} {call:?}: {answer:?}",
            start.as_millis(),
            end.as_millis()
        )?;
        if *detail == Detail::None { Ok(()) } else { write!(f, " {detail:?}") }
    }
}

/// What a run leaves.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) events: usize,
    pub(crate) hash: u64,
    pub(crate) lines: Vec<String>,
    pub(crate) violations: Vec<String>,
    pub(crate) counts: std::collections::BTreeMap<&'static str, u64>,
}

impl Report {
    /// `whole` keeps the history even if nothing is wrong with it.
    pub(crate) fn of(sim: &Sim, whole: bool) -> Self {
        let (events, violations) = (sim.events.lock(), sim.violations.lock());
        let mut lines = Vec::new();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        if whole || !violations.is_empty() {
            lines = events.iter().map(ToString::to_string).collect();
            lines.extend(truth(sim));
            for byte in lines.iter().flat_map(|line| line.bytes()) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        let described = violations.iter().map(|violation| describe(violation, &events, sim)).collect();
        Self {
            seed: sim.seed,
            events: events.len(),
            hash,
            lines,
            violations: described,
            counts: sim.counts(),
        }
    }
}

fn truth(sim: &Sim) -> Vec<String> {
    sim.stores.iter().flat_map(|store| truth_of(store)).collect()
}

fn truth_of(store: &Store) -> Vec<String> {
    let truth = store.truth.lock();
    let states = truth.iter().flat_map(|(id, states)| states.iter().map(move |state| (id, state)));
    let described = states.map(|(id, (at, record))| {
        let state = record.ended().map_or("active", |ended| ended.reason.as_str());
        let (revision, seen) = (record.revision.get(), record.last_seen_at);
        format!("truth {} at {}: {state} r{revision} {seen:?}", &id.to_string()[19..], at.as_millis())
    });
    described.collect()
}

/// The violation, with what happened to its session before.
fn describe(violation: &Violation, events: &[Event], sim: &Sim) -> String {
    let Violation { invariant, session, at, what } = violation;
    let concerns =
        |event: &&Event| event.start <= *at + Duration::from_millis(1) && event.session == *session;
    let mut lines: Vec<_> = events.iter().filter(concerns).map(ToString::to_string).collect();
    let latest = lines.split_off(lines.len().saturating_sub(25)).join("\n  ");
    let states: Vec<_> = match session {
        Some(id) => truth(sim).into_iter().filter(|line| line.contains(&id.to_string()[19..])).collect(),
        None => Vec::new(),
    };
    format!(
        "seed {}: {invariant} at {} ms, session {session:?}: {what}\n  {latest}\n  {}\n  {:?}\nreplay: SESSION_SIM_SEED={} cargo \
         nextest run -p session-manager --test sim --no-capture replay",
        sim.seed,
        at.as_millis(),
        states.join("\n  "),
        sim.plan,
        sim.seed,
    )
}
