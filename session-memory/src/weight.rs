//! How much memory a record takes.

use session_core::SessionRecord;

/// A record itself, its secrets, its place in a map, and what allocators add.
const FIXED: usize = 1_024;

/// Estimates the memory of a record, in bytes: a fixed part, and its texts and data.
pub(crate) fn weight_of(record: &SessionRecord) -> u64 {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let client = record.client.user_agent.as_ref().map_or(0, String::len);
    let spent = record.refresh.as_ref().map_or(0, |refresh| refresh.spent.len() * 64);
    let sum = FIXED
        + record.data.len()
        + text(&record.username)
        + text(&record.label)
        + client
        + record.auth.len() * 48
        + spent;
    sum as u64
}
