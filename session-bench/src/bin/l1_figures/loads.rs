//! The hit rates of full caches under uneven loads.

use std::sync::Arc;

use session_core::SessionId;

use crate::candidates::{Candidate, Kind, LRU, evicting};
use crate::line::Line;
use crate::sessions::{Copy, WEIGHT, copies, ids, zipf};

/// The number of sessions of a load.
const SESSIONS: usize = 100_000;
/// The number of accesses of a load.
const ACCESSES: usize = 1_000_000;
/// The number of sessions that a scan gets once.
const SCANNED: usize = 20_000;
/// The number of measured accesses after the scan.
const AFTER: usize = 50_000;
/// The exponents of the Zipf distributions: a higher one is more uneven.
const EXPONENTS: [f64; 4] = [0.8, 0.9, 1.0, 1.1];
/// The percentages of the sessions for which a cache has room.
const PERCENT: [usize; 4] = [1, 5, 10, 25];

/// Gets a session, and puts it if it is missing. Returns true for a hit.
fn ask(candidate: &dyn Candidate, id: SessionId, copy: &Copy) -> bool {
    let hit = candidate.get(id);
    if !hit {
        candidate.put(id, Arc::clone(copy));
    }
    hit
}

struct Load {
    ids: Vec<SessionId>,
    order: Vec<usize>,
    copy: Copy,
}

impl Load {
    fn new(exponent: f64) -> Self {
        let ids = ids(6, SESSIONS);
        let copy = copies(&ids[..1]).remove(0).1;
        Self { ids, order: zipf(7, exponent, SESSIONS, ACCESSES), copy }
    }

    /// Returns the hit rate of a part of the load, in percent.
    fn hits(&self, candidate: &dyn Candidate, part: std::ops::Range<usize>) -> f64 {
        let accesses = part.len();
        let hit = |place: &&usize| ask(candidate, self.ids[**place], &self.copy);
        100.0 * self.order[part].iter().filter(hit).count() as f64 / accesses as f64
    }
}

fn with_room_for(kind: &Kind, sessions: usize) -> Box<dyn Candidate> {
    (kind.of_bytes)(sessions as u64 * WEIGHT)
}

/// Measures hit rates, compared with an exact LRU.
pub(crate) fn hit_rates() -> Vec<Line> {
    let mut lines = Vec::new();
    for exponent in EXPONENTS {
        let load = Load::new(exponent);
        for percent in PERCENT {
            let case = format!("hits, Zipf {exponent:.1}, room for {percent} % of the sessions");
            eprintln!("{case}");
            let rate = |kind: &Kind| {
                let candidate = with_room_for(kind, SESSIONS * percent / 100);
                (kind.name, load.hits(candidate.as_ref(), 0..ACCESSES))
            };
            lines.extend(Line::beside(LRU, &case, "%", &evicting().map(rate).collect::<Vec<_>>()));
        }
    }
    lines
}

/// Measures how much a scan of 20,000 sessions displaces: the hit rate of the 50,000 accesses after
/// the scan, compared with the same accesses without the scan.
pub(crate) fn scans() -> Vec<Line> {
    let mut lines = Vec::new();
    let scanned = ids(8, SCANNED);
    for exponent in EXPONENTS {
        let case = format!("hits after a scan, Zipf {exponent:.1}, room for 10 %");
        eprintln!("{case}");
        let load = Load::new(exponent);
        for kind in evicting() {
            let after = |scan: &[SessionId]| {
                let candidate = with_room_for(kind, SESSIONS / 10);
                load.hits(candidate.as_ref(), 0..ACCESSES / 2);
                for id in scan {
                    ask(candidate.as_ref(), *id, &load.copy);
                }
                load.hits(candidate.as_ref(), ACCESSES / 2..ACCESSES / 2 + AFTER)
            };
            let (value, undisturbed) = (after(&scanned), after(&[]));
            lines.push(Line {
                case: case.clone(),
                candidate: kind.name,
                value,
                unit: "%",
                ratio: Some(value / undisturbed),
                spread: None,
            });
        }
    }
    lines
}

/// Measures how long entries stay that are put once and never read, like tombstones: fills the
/// whole capacity with new entries, and counts those that are still present.
pub(crate) fn newcomers() -> Vec<Line> {
    eprintln!("newcomers");
    let load = Load::new(1.0);
    let room = SESSIONS / 10;
    let new = ids(9, room);
    let kept = |kind: &Kind| {
        let candidate = with_room_for(kind, room);
        load.hits(candidate.as_ref(), 0..ACCESSES / 2);
        for id in &new {
            candidate.put(*id, Arc::clone(&load.copy));
        }
        candidate.settle();
        let present = new.iter().filter(|id| candidate.get(**id)).count();
        (kind.name, 100.0 * present as f64 / room as f64)
    };
    let case = "newcomers that a full cache of 10,000 keeps of 10,000";
    Line::beside(LRU, case, "%", &evicting().map(kept).collect::<Vec<_>>())
}
