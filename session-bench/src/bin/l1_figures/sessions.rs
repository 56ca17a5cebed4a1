//! Sessions and orders to ask for them, the same in every run.

use std::sync::Arc;

use fastrand::Rng;
use session_core::{ClientInfo, SessionId, SessionRecord, Timestamp};

/// What a cached copy is.
pub(crate) type Copy = Arc<SessionRecord>;

/// What the weighers count for a record without data.
pub(crate) const WEIGHT: u64 = 1_024;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const END: Timestamp = Timestamp::from_millis(1_767_312_000_000);

/// Returns what an entry counts.
pub(crate) fn weight(record: &SessionRecord) -> u64 {
    WEIGHT + record.data.len() as u64
}

/// Makes ids; other seeds make other ones.
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

/// Makes a copy with that much data, whose client is shared so that the copies that are alive can be counted.
pub(crate) fn copy(id: SessionId, data: &Arc<[u8]>, client: &Arc<ClientInfo>) -> Copy {
    let mut record = SessionRecord::new(id, NOW, END);
    record.data = Arc::clone(data);
    record.client = Arc::clone(client);
    Arc::new(record)
}

/// Makes a copy of each session, without data.
pub(crate) fn copies(ids: &[SessionId]) -> Vec<(SessionId, Copy)> {
    let (data, client) = (Arc::default(), Arc::default());
    ids.iter().map(|id| (*id, copy(*id, &data, &client))).collect()
}

/// Returns places below `count`, each as likely as the other.
pub(crate) fn evenly(seed: u64, count: usize, length: usize) -> Vec<usize> {
    let mut rng = Rng::with_seed(seed);
    (0..length).map(|_| rng.usize(..count)).collect()
}

/// Returns places below `count`, the nth of them as likely as `1 / n^exponent`.
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
