//! Every bound of the contract, in one place, with the reason for its value.

use std::time::Duration;

/// Most ids, touches or rows that one call may name: 500.
///
/// Larger requests are refused as [`Invalid`](crate::ErrorKind::Invalid) before any I/O. The value keeps one statement
/// below the parameter limits of every supported database (SQLite allows 32,766 parameters, a touch uses 6).
pub const MAX_BATCH: usize = 500;

/// Most records on one page of a listing: 500.
pub const MAX_PAGE: usize = 500;

/// Longest user id and user name, in bytes: 255, the longest key that MySQL indexes whole in every row format.
pub const MAX_USER_ID: usize = 255;

/// Longest device label, in characters: 100.
pub const MAX_LABEL: usize = 100;

/// Longest stored user agent, in bytes: 512. Longer ones are cut; browsers send 100 to 200.
pub const MAX_USER_AGENT: usize = 512;

/// Longest of the other descriptive texts (brand, model, city, ...), in bytes: 300.
pub const MAX_TEXT: usize = 300;

/// Largest encoded session data by default: 64 KiB. A store may allow less or more, see
/// [`Capabilities::max_payload`](crate::Capabilities::max_payload).
pub const MAX_DATA: usize = 64 * 1024;

/// Deepest nesting of session data: 32 levels.
pub const MAX_DATA_DEPTH: usize = 32;

/// Most values in session data, nested ones included: 10,000.
pub const MAX_DATA_ELEMENTS: usize = 10_000;

/// Longest lifetime or idle timeout: 400 days, the longest that browsers keep a cookie
/// ([RFC 6265bis section 5.5](https://www.ietf.org/archive/id/draft-ietf-httpbis-rfc6265bis-22.html#section-5.5)).
pub const MAX_LIFETIME: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Most authentication events kept on a record: 16. The oldest beyond that are dropped.
pub const MAX_AUTH_EVENTS: usize = 16;

/// Most hashes of spent refresh tokens kept to prove reuse: 8 generations.
pub const MAX_SPENT: usize = 8;
