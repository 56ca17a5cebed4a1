//! Every bound of the contract, in one place, with the reason for its value.

use std::time::Duration;

/// The maximum number of ids, touches or rows in one call: 500.
///
/// Larger requests are refused as [`Invalid`](crate::ErrorKind::Invalid) before any I/O. The value
/// keeps one statement below the parameter limits of every supported database (SQLite allows 32,766
/// parameters, a touch uses 6).
pub const MAX_BATCH: usize = 500;

/// The maximum number of records on one page of a listing: 500.
pub const MAX_PAGE: usize = 500;

/// The maximum length of user ids and user names, in bytes: 255, the longest key that MySQL indexes
/// completely in every row format.
pub const MAX_USER_ID: usize = 255;

/// The maximum length of a device label, in characters: 100.
pub const MAX_LABEL: usize = 100;

/// The maximum length of a stored user agent, in bytes: 512. Longer ones are cut; browsers send 100
/// to 200.
pub const MAX_USER_AGENT: usize = 512;

/// The maximum length of the other descriptive texts (brand, model, city, ...), in bytes: 300.
pub const MAX_TEXT: usize = 300;

/// The default maximum size of the application's encoded session data: 64 KiB.
pub const MAX_DATA: usize = 64 * 1024;

/// The room for the library's own keys beside the application's data: 4 KiB. They never count
/// against the application's limit.
pub const LIBRARY_DATA: usize = 4 * 1024;

/// The default of [`Capabilities::max_payload`](crate::Capabilities::max_payload): the
/// application's data and the library's, 68 KiB. A store may allow less or more.
pub const MAX_PAYLOAD: usize = MAX_DATA + LIBRARY_DATA;

/// The maximum nesting of session data: 32 levels.
pub const MAX_DATA_DEPTH: usize = 32;

/// The maximum number of values in session data, nested ones included: 10,000.
pub const MAX_DATA_ELEMENTS: usize = 10_000;

/// The maximum lifetime or idle timeout: 400 days, the longest that browsers keep a cookie ([RFC
/// 6265bis section
/// 5.5](https://www.ietf.org/archive/id/draft-ietf-httpbis-rfc6265bis-22.html#section-5.5)).
pub const MAX_LIFETIME: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The maximum number of authentication events on a record: 16. Older events are dropped.
pub const MAX_AUTH_EVENTS: usize = 16;

/// The maximum number of hashes of spent refresh tokens, kept to prove reuse: 8 generations.
pub const MAX_SPENT: usize = 8;
