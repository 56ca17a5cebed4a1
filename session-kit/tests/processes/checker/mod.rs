//! Checks the guarantees over the histories of all nodes together.

mod lag;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use crate::wire::{Event, Nanos, Op, Outcome};
pub(crate) use lag::Lags;

/// The guaranteed limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How long a node may accept an ended session, whatever fails.
    pub(crate) max_stale: Duration,
    /// The same limit if only the bus fails.
    pub(crate) l1_max_age: Duration,
    /// The longest time of an operation.
    pub(crate) longest: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The node neither receives nor sends messages.
    Bus {
        node: usize,
    },
    /// The store of record is unavailable.
    Store,
    Other,
}

impl Fault {
    /// Returns true if the fault separates the two nodes on the bus.
    fn is_between(self, one: usize, another: usize) -> bool {
        self == Self::Bus { node: one } || self == Self::Bus { node: another }
    }
}

/// The time of a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) fault: Fault,
    pub(crate) from: Nanos,
    pub(crate) until: Nanos,
    /// When its consequences must be over.
    pub(crate) recovered: Nanos,
}

impl Window {
    pub(crate) fn contains(&self, at: Nanos) -> bool {
        (self.from..self.until).contains(&at)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) violations: Vec<String>,
    counts: BTreeMap<(Op, Outcome), usize>,
    sessions: usize,
    lags: Lags,
    longest: Duration,
}

/// All events of one session.
pub(crate) struct Session<'a> {
    name: &'a str,
    events: Vec<&'a Event>,
    /// When the first end began. `end` is the first confirmed one.
    end_began: Option<Nanos>,
    end: Option<&'a Event>,
}

/// Checks all guarantees.
pub(crate) fn check(history: &[Event], windows: &[Window], limits: &Limits) -> Report {
    let mut sessions: HashMap<&str, Vec<&Event>> = HashMap::new();
    let mut report = Report::default();
    for event in history {
        *report.counts.entry((event.op, event.outcome.clone())).or_default() += 1;
        report.longest = report.longest.max(nanos(event.ended - event.began));
        sessions.entry(&event.session).or_default().push(event);
        check_alone(event, windows, limits, &mut report.violations);
    }
    report.sessions = sessions.len();
    for (name, mut events) in sessions {
        events.sort_by_key(|event| event.began);
        let session = Session::of(name, events);
        session.check(windows, limits, &mut report.violations);
        report.lags.add(&session, windows);
    }
    report
}

/// Checks the guarantees that concern a single event.
fn check_alone(event: &Event, windows: &[Window], limits: &Limits, violations: &mut Vec<String>) {
    if nanos(event.ended - event.began) > limits.longest {
        violations.push(format!("bounded-time: {event:?}"));
    }
    let is_expected = || {
        let overlaps = |window: &&Window| window.from <= event.ended && event.began <= window.recovered;
        windows.iter().filter(|window| window.fault == Fault::Store).find(overlaps).is_some()
    };
    match &event.outcome {
        // A known session is never refused for another reason than its end, whatever fails.
        Outcome::Refused(_) => violations.push(format!("outage-is-not-logout: {event:?}")),
        Outcome::Unavailable if !is_expected() => {
            violations.push(format!("cache-never-fatal: the store of record was available: {event:?}"));
        }
        _ => {}
    }
}

impl<'a> Session<'a> {
    fn of(name: &'a str, events: Vec<&'a Event>) -> Self {
        let ends = || events.iter().filter(|event| event.op == Op::End);
        let end_began = ends().map(|event| event.began).min();
        let end = ends().filter(|event| event.outcome == Outcome::Yes).min_by_key(|event| event.ended);
        let end = end.copied();
        Self { name, events, end_began, end }
    }

    fn check(&self, windows: &[Window], limits: &Limits, violations: &mut Vec<String>) {
        let mut complain = |promise: &str, event: &Event| {
            violations.push(format!("{promise}: {} {event:?}", self.name));
        };
        // When each process first reported the end.
        let mut known: HashMap<usize, Nanos> = HashMap::new();
        for event in self.events.iter().filter(|event| event.outcome == Outcome::Ended) {
            let first = known.entry(event.life).or_insert(event.ended);
            *first = event.ended.min(*first);
            if self.end_began.is_none_or(|began| event.ended < began) {
                complain("outage-is-not-logout: no node ended it", event);
            }
        }
        for event in &self.events {
            let opens = event.outcome == Outcome::Yes;
            if !opens || matches!(event.op, Op::Create | Op::End) {
                continue;
            }
            if known.get(&event.life).is_some_and(|known| event.began > *known) {
                complain("no-resurrection", event);
            }
            let Some(end) = self.end.filter(|end| event.began > end.ended) else { continue };
            let late = nanos(event.began - end.ended);
            match event.op {
                Op::Authoritative | Op::Save => complain("revocation-wins", event),
                Op::Validate if late > limits.max_stale => complain("bounded-lag: max_stale", event),
                Op::Validate
                    if is_only_bus_down(event, end, windows)
                        && late > limits.l1_max_age + self.taken_late(event, end) =>
                {
                    complain("bounded-lag: l1_max_age", event);
                }
                _ => {}
            }
        }
    }

    /// Returns how long after the end the node may have stored a copy that it requested before the
    /// end. A copy's age counts from when it was stored, by a clock that is up to 10 ms old.
    fn taken_late(&self, event: &Event, end: &Event) -> Duration {
        let asked_before = |other: &&&Event| other.life == event.life && other.began <= end.ended;
        let answered = self.events.iter().filter(asked_before).map(|other| other.ended).max();
        nanos(answered.unwrap_or_default().saturating_sub(end.ended)) + Duration::from_millis(10)
    }
}

/// Returns true if only the bus between the two nodes failed, and the shared caches had received
/// the end.
fn is_only_bus_down(event: &Event, end: &Event, windows: &[Window]) -> bool {
    let both = |window: &Window| window.contains(end.ended) && window.contains(event.began);
    end.caches_notified
        && windows.iter().any(|window| window.fault.is_between(event.node, end.node) && both(window))
}

pub(crate) fn nanos(nanos: Nanos) -> Duration {
    Duration::from_nanos(nanos)
}

impl Report {
    /// Asserts that enough happened for the result to mean anything.
    pub(crate) fn assert_busy(&self) {
        let count = |op, outcome| self.counts.get(&(op, outcome)).copied().unwrap_or_default();
        assert!(self.sessions > 200, "{}", self.sessions);
        assert!(count(Op::Validate, Outcome::Yes) > 5_000);
        assert!(count(Op::Authoritative, Outcome::Ended) + count(Op::Validate, Outcome::Ended) > 500);
        assert!(count(Op::Save, Outcome::Yes) > 200 && count(Op::End, Outcome::Yes) > 100);
        assert!(count(Op::Validate, Outcome::Unavailable) > 0, "the store of record never failed");
        self.lags.assert_measured();
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} sessions; the longest operation took {:?}", self.sessions, self.longest)?;
        for ((op, outcome), count) in &self.counts {
            writeln!(f, "{count:8}  {op:?}: {outcome:?}")?;
        }
        write!(f, "{}", self.lags)?;
        writeln!(f, "{} violations", self.violations.len())?;
        self.violations.iter().take(20).try_for_each(|violation| writeln!(f, "  {violation}"))
    }
}
