//! How often what hardly ever happens happened.

use std::collections::BTreeMap;

use session_manager::Source;

use crate::checker::Checker;
use crate::history::{Answer, Call};
use crate::world::Time;

impl Checker<'_> {
    /// Counts what hardly ever happens.
    pub(crate) fn count(&self) {
        let mut read: BTreeMap<_, Time> = BTreeMap::new();
        for event in self.events {
            let ends =
                matches!(event.call, Call::Logout | Call::Revoke | Call::RevokeOthers | Call::RevokeAll);
            let happened = self
                .ended_by(event)
                .iter()
                .any(|id| self.ended_at(*id).is_some_and(|at| (event.start..=event.end).contains(&at)));
            if ends && happened && event.answer == Answer::Crashed {
                self.sim.count("crash between store and spread");
            }
            let Answer::Live { source, verified_at, degraded, .. } = event.answer else { continue };
            match source {
                _ if degraded => self.sim.count("stale_if_error answer"),
                Source::Memory => self.sim.count("answer of the memory"),
                Source::Shared("first") => self.sim.count("answer of the first cache"),
                Source::Shared(_) => self.sim.count("answer of the second cache"),
                _ => self.sim.count("answer of the store"),
            }
            if source == Source::Store && event.call == Call::Validate {
                let of = (event.node, event.life, event.session, verified_at);
                if read.insert(of, event.end).is_some_and(|end| end >= event.start) {
                    self.sim.count("joined flight");
                }
            }
        }
    }
}
