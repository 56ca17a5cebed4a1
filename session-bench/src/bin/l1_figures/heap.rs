//! The heap memory of an entry beside its record, and the number of allocations.

use std::sync::Arc;

use allocation_counter::measure;

use crate::candidates::{FLOOR, KINDS, Kind};
use crate::line::Line;
use crate::sessions::{WEIGHT, copies, ids};

const ENTRIES: usize = 16_384;
const CALLS: usize = 10_000;

/// Measures full caches of 16,384 entries.
pub(crate) fn of_an_entry() -> Vec<Line> {
    eprintln!("heap");
    let measured: Vec<_> = KINDS.iter().map(|kind| (kind.name, of(kind))).collect();
    let table = |case, unit, part: fn(&Heap) -> f64| {
        let figures: Vec<_> = measured.iter().map(|(name, heap)| (*name, part(heap))).collect();
        Line::beside(FLOOR, case, unit, &figures)
    };
    [
        table("heap of an entry without its record", "bytes", |heap| heap.bytes),
        table("allocations of a get", "allocations", |heap| heap.get),
        table("allocations of a put into a full cache", "allocations", |heap| heap.put),
        table("allocations of a replacement", "allocations", |heap| heap.replacement),
    ]
    .into_iter()
    .flatten()
    .collect()
}

struct Heap {
    bytes: f64,
    get: f64,
    put: f64,
    replacement: f64,
}

fn of(kind: &Kind) -> Heap {
    let sessions = copies(&ids(4, 4 * ENTRIES));
    let mut made = None;
    let filled = measure(|| {
        let candidate = (kind.of_bytes)(ENTRIES as u64 * WEIGHT);
        for (place, (id, copy)) in sessions.iter().enumerate() {
            candidate.put(*id, Arc::clone(copy));
            if let Some(old) = place.checked_sub(ENTRIES) {
                candidate.make_room(sessions[old].0);
            }
        }
        candidate.settle();
        made = Some(candidate);
    });
    let candidate = made.expect("the closure has set it");
    // Finds the entries that are present, which need not be the last ones: some candidates reject
    // new entries.
    let present: Vec<_> = sessions.iter().filter(|(id, _)| candidate.get(*id)).cloned().collect();
    let present: Vec<_> = present.iter().cycle().take(CALLS).cloned().collect();
    let ids_of_present: Vec<_> = present.iter().map(|(id, _)| *id).collect();
    let each = |run: &dyn Fn()| measure(run).count_total as f64 / CALLS as f64;
    let new = ids(5, CALLS);
    let get = each(&|| candidate.get_each(&ids_of_present));
    let replacement = each(&|| candidate.put_each(&present));
    let put = each(&|| candidate.turn_over(&new, &ids_of_present, &sessions[0].1));
    Heap { bytes: filled.bytes_current as f64 / ENTRIES as f64, get, put, replacement }
}
