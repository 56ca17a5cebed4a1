//! Sessions and access orders, the same in every run.

use std::sync::Arc;

use fastrand::Rng;
use session_core::{ClientInfo, SessionId, SessionRecord, Timestamp};

/// A cached copy.
pub(crate) type Copy = Arc<SessionRecord>;

/// The weight of a record without data.
pub(crate) const WEIGHT: u64 = 1_024;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const END: Timestamp = Timestamp::from_millis(1_767_312_000_000);

/// Returns the weight of an entry.
pub(crate) fn weight(record: &SessionRecord) -> u64 {
    WEIGHT + record.data.len() as u64
}

/// Generates ids from a seed.
pub(crate) fn ids(seed: u64, count: usize) -> Vec<SessionId> {
    let mut rng = Rng::with_seed(seed);
    let mut id = || {
        let mut bytes = rng.u128(..).to_be_bytes();
        bytes[6] = (bytes[6] & 0x0f) | 0x70;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        SessionId::from_bytes(bytes).expect("version 7")
    };
    (0..count).map(|_| id()).collect()
}

/// Creates a copy with this data. The copies share the client, whose reference count is the number
/// of copies that are alive.
pub(crate) fn copy(id: SessionId, data: &Arc<[u8]>, client: &Arc<ClientInfo>) -> Copy {
    let mut record = SessionRecord::new(id, NOW, END);
    record.data = Arc::clone(data);
    record.client = Arc::clone(client);
    Arc::new(record)
}

/// Creates a copy of each session, without data.
pub(crate) fn copies(ids: &[SessionId]) -> Vec<(SessionId, Copy)> {
    let (data, client) = (Arc::default(), Arc::default());
    ids.iter().map(|id| (*id, copy(*id, &data, &client))).collect()
}

/// Returns uniformly distributed positions below `count`.
pub(crate) fn evenly(seed: u64, count: usize, length: usize) -> Vec<usize> {
    let mut rng = Rng::with_seed(seed);
    (0..length).map(|_| rng.usize(..count)).collect()
}

/// Returns Zipf-distributed positions below `count`: the probability of the nth one is proportional
/// to `1 / n^exponent`.
pub(crate) fn zipf(seed: u64, exponent: f64, count: usize, length: usize) -> Vec<usize> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=count)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    let mut rng = Rng::with_seed(seed);
    let mut place = || {
        let point = rng.f64() * sum;
        sums.partition_point(|sum| *sum <= point).min(count - 1)
    };
    (0..length).map(|_| place()).collect()
}
