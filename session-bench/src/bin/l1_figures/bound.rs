//! Compliance with the capacity bound.

use std::sync::Arc;
use std::thread;

use session_core::{ClientInfo, SessionId};

use crate::candidates::{Bound, Candidate, KINDS, Kind};
use crate::line::Line;
use crate::sessions::{WEIGHT, copy, ids};

const CAPACITY: u64 = 64 << 20;
const SESSIONS: usize = 1_000_000;
/// The number of puts between two counts of the copies that are alive.
const EVERY: usize = 100;

/// The sizes of the data, each with the percentage of sessions that have it.
const SIZES: [(usize, usize); 4] = [(0, 49), (500, 40), (2_000, 10), (65_000, 1)];

/// Copies of one size. They share the client, whose reference count is the number of copies that
/// are alive.
struct Size {
    data: Arc<[u8]>,
    client: Arc<ClientInfo>,
}

impl Size {
    fn alive(&self) -> u64 {
        let copies = Arc::strong_count(&self.client) - 1;
        copies as u64 * (WEIGHT + self.data.len() as u64)
    }
}

/// Puts a million sessions from two threads, and measures the highest weight that was alive at
/// once, including copies that the candidate no longer counts.
pub(crate) fn kept() -> Vec<Line> {
    let sessions = ids(10, SESSIONS);
    KINDS.iter().filter(|kind| kind.bound == Bound::Weight).map(|kind| of(kind, &sessions)).collect()
}

fn of(kind: &Kind, sessions: &[SessionId]) -> Line {
    eprintln!("bound of {}", kind.name);
    let candidate = (kind.of_bytes)(CAPACITY);
    let sizes = SIZES.map(|(data, _)| Size { data: vec![0; data].into(), client: Arc::default() });
    let highest = thread::scope(|scope| {
        let (candidate, sizes) = (candidate.as_ref(), &sizes);
        let threads: Vec<_> = sessions
            .chunks(SESSIONS / 2)
            .map(|part| scope.spawn(move || fill(candidate, part, sizes)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).max()
    });
    Line {
        case: "most bytes alive, of a capacity of 64 MiB, while 1,000,000 sessions are put".to_owned(),
        candidate: kind.name,
        value: highest.unwrap_or_default() as f64,
        unit: "bytes",
        ratio: Some(highest.unwrap_or_default() as f64 / CAPACITY as f64),
        spread: None,
    }
}

fn fill(candidate: &dyn Candidate, sessions: &[SessionId], sizes: &[Size]) -> u64 {
    let mut highest = 0;
    for (place, id) in sessions.iter().enumerate() {
        let size = &sizes[size_of_place(place)];
        candidate.put(*id, copy(*id, &size.data, &size.client));
        if place % EVERY == 0 {
            highest = highest.max(sizes.iter().map(Size::alive).sum());
        }
    }
    highest
}

fn size_of_place(place: usize) -> usize {
    // 37 and 100 are coprime, so the sizes are spread evenly.
    let mut left = place * 37 % 100;
    SIZES
        .iter()
        .position(|(_, share)| match left.checked_sub(*share) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
        .unwrap_or_default()
}
