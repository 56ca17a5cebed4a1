//! How long it took until an end was known everywhere.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use super::{Fault, Session, Window, nanos};
use crate::wire::{Event, Nanos, Outcome};

/// What else was going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Weather {
    Healthy,
    WithoutBus,
    Faults,
}

/// For each end and each other node, the time from the confirmation to the first refusal.
#[derive(Debug, Default)]
pub(crate) struct Lags(BTreeMap<Weather, Vec<Duration>>);

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
            self.0.entry(weather(end, node, windows)).or_default().push(lag);
        }
    }

    pub(crate) fn assert_measured(&self) {
        for weather in [Weather::Healthy, Weather::WithoutBus, Weather::Faults] {
            assert!(self.0.get(&weather).is_some_and(|lags| lags.len() >= 10), "{weather:?}: {self:?}");
        }
    }
}

fn weather(end: &Event, node: usize, windows: &[Window]) -> Weather {
    let felt: Vec<_> =
        windows.iter().filter(|window| (window.from..window.healed).contains(&end.ended)).collect();
    let between = |window: &&Window| window.fault.is_between(node, end.node);
    match felt.as_slice() {
        [] => Weather::Healthy,
        [only] if between(only) && only.contains(end.ended) => Weather::WithoutBus,
        // Others hear each other as always.
        [only] if matches!(only.fault, Fault::Bus { .. }) && !between(only) => Weather::Healthy,
        _ => Weather::Faults,
    }
}

impl fmt::Display for Lags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (weather, lags) in &self.0 {
            let mut lags = lags.clone();
            lags.sort_unstable();
            let at = |percent: usize| lags[(lags.len() - 1) * percent / 100];
            writeln!(
                f,
                "until an end is known elsewhere, {weather:?}: {} times, p50 {:.1?}, p99 {:.1?}, at most {:.1?}",
                lags.len(),
                at(50),
                at(99),
                at(100)
            )?;
        }
        Ok(())
    }
}
