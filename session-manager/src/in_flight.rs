//! Sessions with which something is being done in the background, each once.

use std::collections::HashSet;

use parking_lot::Mutex;
use session_core::SessionId;

/// Most sessions at once. Others wait for their next use.
const MAX: usize = 1_024;

/// A bounded set of sessions.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    sessions: Mutex<HashSet<SessionId>>,
}

impl InFlight {
    /// Returns true if the caller is to do it.
    pub(crate) fn begin(&self, id: SessionId) -> bool {
        let mut sessions = self.sessions.lock();
        sessions.len() < MAX && sessions.insert(id)
    }

    pub(crate) fn end(&self, id: SessionId) {
        self.sessions.lock().remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_is_in_it_once_and_there_are_never_too_many() {
        let in_flight = InFlight::default();
        let id = |n: usize| SessionId::derive("test", &n.to_be_bytes(), None);
        assert!(in_flight.begin(id(0)) && !in_flight.begin(id(0)));
        assert_eq!((1..2_000).filter(|n| in_flight.begin(id(*n))).count(), MAX - 1);
        in_flight.end(id(0));
        assert!(in_flight.begin(id(0)));
    }
}
