//! The messages between the processes, one line of JSON each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The variable that makes a process a node, and contains its settings.
pub(crate) const NODE: &str = "SESSION_PROCESS_NODE";

/// Time of the system's monotonic clock in nanoseconds. It is the same in all processes of a
/// machine.
pub(crate) type Nanos = u64;

pub(crate) fn now() -> Nanos {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap()).as_nanos();
    u64::try_from(nanos).unwrap()
}

/// The settings of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) node: usize,
    pub(crate) postgres: String,
    pub(crate) redis: String,
    /// The address of Redis for the bus of this node.
    pub(crate) bus: String,
    pub(crate) prefix: String,
    /// How far the node's clock is ahead.
    pub(crate) ahead_seconds: u64,
}

/// A message from the test to a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Another node created a session.
    Add { session: String, token: String },
    /// Another node ended a session, or tried to. Validate it repeatedly.
    Watch { session: String },
    /// Stop creating and ending sessions.
    Drain,
    /// Exit.
    Stop,
}

/// A message from a node to the test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Message {
    Ready,
    Created { session: String, token: String },
    Event(Event),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Op {
    Create,
    Validate,
    /// A validation by the store of record.
    Authoritative,
    Save,
    /// A sign-out or a revocation.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The operation began, and its result is unknown.
    Begun,
    /// The session is live, or the operation succeeded.
    Yes,
    /// The session ended.
    Ended,
    /// There was no answer.
    Unavailable,
    /// Any other error, which would sign the user out.
    Refused(String),
    /// Another writer came first.
    Conflict,
}

/// One operation of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// The process. A restarted node counts as another process, because it has lost its copies.
    pub(crate) life: usize,
    pub(crate) node: usize,
    pub(crate) op: Op,
    pub(crate) session: String,
    pub(crate) began: Nanos,
    pub(crate) ended: Nanos,
    pub(crate) outcome: Outcome,
    /// For an end: true if every shared cache received it.
    pub(crate) caches_notified: bool,
}
