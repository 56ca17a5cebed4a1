//! Measures how long it takes until every node knows an end.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use super::{Fault, Session, Window, nanos};
use crate::wire::{Event, Nanos, Outcome};

/// The conditions during which an end spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Condition {
    Healthy,
    WithoutBus,
    Faults,
}

/// The time from the confirmation of an end to the first refusal by another node, by condition.
#[derive(Debug, Default)]
pub(crate) struct Lags(BTreeMap<Condition, Vec<Duration>>);

impl Lags {
    pub(crate) fn add(&mut self, session: &Session<'_>, windows: &[Window]) {
        let Some(end) = session.end else { return };
        let mut refused: HashMap<usize, Nanos> = HashMap::new();
        for event in session.events.iter().filter(|event| event.outcome == Outcome::Ended) {
            let first = refused.entry(event.node).or_insert(event.ended);
            *first = event.ended.min(*first);
        }
        for (node, at) in refused.into_iter().filter(|(node, _)| *node != end.node) {
            let lag = nanos(at.saturating_sub(end.ended));
            self.0.entry(condition(end, node, windows)).or_default().push(lag);
        }
    }

    pub(crate) fn assert_measured(&self) {
        for condition in [Condition::Healthy, Condition::WithoutBus, Condition::Faults] {
            assert!(self.0.get(&condition).is_some_and(|lags| lags.len() >= 10), "{condition:?}: {self:?}");
        }
    }
}

fn condition(end: &Event, node: usize, windows: &[Window]) -> Condition {
    let active: Vec<_> =
        windows.iter().filter(|window| (window.from..window.recovered).contains(&end.ended)).collect();
    let between = |window: &&Window| window.fault.is_between(node, end.node);
    match active.as_slice() {
        [] => Condition::Healthy,
        [only] if between(only) && only.contains(end.ended) => Condition::WithoutBus,
        // The other nodes still exchange messages.
        [only] if matches!(only.fault, Fault::Bus { .. }) && !between(only) => Condition::Healthy,
        _ => Condition::Faults,
    }
}

impl fmt::Display for Lags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (condition, lags) in &self.0 {
            let mut lags = lags.clone();
            lags.sort_unstable();
            let at = |percent: usize| lags[(lags.len() - 1) * percent / 100];
            writeln!(
                f,
                "until an end is known elsewhere, {condition:?}: {} times, p50 {:.1?}, p99 {:.1?}, at most {:.1?}",
                lags.len(),
                at(50),
                at(99),
                at(100)
            )?;
        }
        Ok(())
    }
}
