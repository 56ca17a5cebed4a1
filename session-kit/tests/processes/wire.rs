//! What processes write to each other, one line of JSON at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a node is told that it is one.
pub(crate) const NODE: &str = "SESSION_PROCESS_NODE";

/// The system's monotonic clock, in nanoseconds: the same in all processes of a machine.
pub(crate) type Nanos = u64;

pub(crate) fn now() -> Nanos {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap()).as_nanos();
    u64::try_from(nanos).unwrap()
}

/// What a node has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) node: usize,
    pub(crate) postgres: String,
    pub(crate) redis: String,
    /// As the bus of this node reaches it.
    pub(crate) bus: String,
    pub(crate) prefix: String,
    /// How far its clock is ahead.
    pub(crate) ahead_seconds: u64,
}

/// What a node is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Somebody created a session.
    Add { session: String, token: String },
    /// Somebody ended it, or tried to: look what is said about it here.
    Watch { session: String },
    /// No new sessions, and no more ends.
    Rest,
    /// The end.
    Stop,
}

/// What a node says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Said {
    Ready,
    Created { session: String, token: String },
    Did(Event),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Op {
    Create,
    Validate,
    /// By the store of record.
    Authoritative,
    Save,
    /// A sign-out or a revocation.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// It began, and nobody knows more yet.
    Begun,
    /// It is live, or it was done.
    Yes,
    /// The session ended.
    Ended,
    /// There was no answer.
    Unavailable,
    /// Anything else that would sign somebody out.
    Refused(String),
    /// Another writer came first.
    Conflict,
}

/// One operation of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Nodes that are started again count as others, because they have forgotten what they knew.
    pub(crate) life: usize,
    pub(crate) node: usize,
    pub(crate) op: Op,
    pub(crate) session: String,
    pub(crate) began: Nanos,
    pub(crate) ended: Nanos,
    pub(crate) outcome: Outcome,
    /// Of an end: that every shared cache has been told.
    pub(crate) told: bool,
}
