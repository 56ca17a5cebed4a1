//! The memory of a record.

use session_core::SessionRecord;

/// A record itself, its secrets, its slot in a map, and the allocator's overhead.
const FIXED: usize = 1_024;

/// Estimates the memory of a record in bytes: a fixed part, and its texts and data.
pub(crate) fn weight_of(record: &SessionRecord) -> u64 {
    let (device, geo) = (&record.client.device, &record.client.geo);
    let texts = [
        &record.username,
        &record.label,
        &record.client.user_agent,
        &device.brand,
        &device.model,
        &device.os,
        &device.os_version,
        &device.browser,
        &device.browser_version,
        &geo.country,
        &geo.region,
        &geo.city,
    ];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let user = record.user_id.as_ref().map_or(0, |user| user.as_str().len());
    let methods: usize = record.auth.iter().map(|event| 48 + event.method.as_str().len()).sum();
    let spent = record.refresh.as_ref().map_or(0, |refresh| refresh.spent.len() * 64);
    (FIXED + record.data.len() + texts + user + methods + spent) as u64
}
