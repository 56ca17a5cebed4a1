//! Sessions for applications: create, validate, change, list and end them, on any store.
//!
//! A [`SessionManager`] stands between the application and a
//! [`SessionStore`](session_core::SessionStore). It owns the clock, the generator and every
//! decision; the store only keeps.
//!
//! # A session's life
//! 1. [`create`](SessionManager::create) makes a session and returns its
//!    [token](session_core::SessionToken) once. The store has the session before the caller has the
//!    token.
//! 2. [`validate`](SessionManager::validate) opens it again, on every request: a [`Session`], a
//!    [`Rejection`], or "unavailable".
//! 3. The [`Session`] carries data. [`save`](Session::save) writes what changed and merges with
//!    what others wrote.
//! 4. Its secret can be [rotated](SessionManager::rotate), its user can [authenticate
//!    again](SessionManager::record_authentication), a program can
//!    [refresh](SessionManager::refresh) it, and its user can take it [to another device](SessionManager::begin_transfer). A new token waits in the
//!    handle then: [`take_token`](Session::take_token).
//! 5. It ends by [`logout`](SessionManager::logout), [`revoke`](SessionManager::revoke) and its
//!    relatives, by a limit, or by a deadline. An ended session never comes back, and stays as
//!    history until the retention is over.
//!
//! # Users
//! A [`UserDirectory`](session_core::UserDirectory) knows whether a user is still active and under
//! which version of their credentials; a changed password ends all sessions signed in under the old
//! one, however many there are. [`export_user`](SessionManager::export_user) and
//! [`erase_user`](SessionManager::erase_user) hand out and forget what is kept. Identities from
//! elsewhere get sessions through [`ensure`](SessionManager::ensure).
//!
//! # What runs in the background
//! Three supervised workers per manager, and a fourth that listens to the bus, if there is one. One
//! writes that sessions were used (collected for a second, at most once a minute per session), one
//! sweeps (ends what expired, purges what ended long ago), one tries a store that does not answer.
//! A failure or a panic is counted, reported and survived. [`shutdown`](SessionManager::shutdown)
//! ends them in order.
//!
//! # When the store fails
//! Every operation has a deadline (2 s by default, retries included). "There is no such session"
//! and "the store cannot be asked" are different answers everywhere: [`ValidateError::Rejected`]
//! and [`ValidateError::Unavailable`].
//!
//! # Copies
//! With [`Tiers`], validation looks into this process's memory, then into the first shared cache
//! that is healthy, then asks the store.
//!
//! - A copy may only confirm. Every refusal but "ended" is decided by the store of record.
//! - An end is noticed elsewhere in milliseconds with a bus, within `l1_max_age` (5 s) without it,
//!   and within `max_stale` (30 s) whatever fails.
//!   [`validate_authoritative`](SessionManager::validate_authoritative) does not wait for either.
//! - What is shared belongs to one deployment and store of record: see [`Tiers::with_scope`]. What
//!   belongs to another is a miss.
//! - A cache that fails costs its time limit (50 ms) a few times, then nothing: it is tried in the
//!   background, receives what it missed, and is read again after that.
//!   [`health`](SessionManager::health) names the tier that serves; so does one line of the log at
//!   the start and at each change.
//! - [`Session::provenance`] names the origin of an answer.
//!
//! # Bounds
//! | what | default | where |
//! |---|---|---|
//! | live sessions per user | 100 | [`with_limit`](SessionManagerBuilder::with_limit) |
//! | one operation | 2 s | [`with_store_deadline`](SessionManagerBuilder::with_store_deadline) |
//! | ids in one load | 256 | fixed |
//! | loads at once | the store's capabilities, 2 by default | [`Capabilities`](session_core::Capabilities::concurrent_loads) |
//! | requests waiting to be loaded | 10,000, then `Unavailable` | fixed |
//! | retries after a conflict with another process | until the store deadline, after random pauses of up to 64 round trips | fixed |
//! | changes of one session that wait for its writer | 1,000, then `Unavailable` | fixed |
//! | uses waiting to be written | 100,000 sessions | [`with_touch_capacity`](SessionManagerBuilder::with_touch_capacity) |
//! | one sweep | 20 batches of 500, and 30 s | fixed |
//! | one erasure of a user | 1 min, then it is to be called again | fixed |
//! | one page of an export | 500 sessions | [`Paging`] |
//! | clocks of the nodes differ by | 30 s, at most 5 min | [`with_clock_skew`](SessionManagerBuilder::with_clock_skew) |
//! | the wall clock may jump by | 2 min, then nothing is swept until it is back, or steady for 1 h | fixed |
//! | session data | 64 KiB, 32 levels, 10,000 values | [`with_data_limits`](SessionManagerBuilder::with_data_limits) |
//! | events waiting for the sink | 4,096, then dropped and counted; denials and errors of the store beyond 2,048 | fixed |
//! | ended sessions remembered as reported | 65,536 | fixed |
//! | users whose status is remembered | 100,000, each for 30 s | [`with_directory_lag`](SessionManagerBuilder::with_directory_lag) |
//! | copies in this process | 64 MiB | [`Tiers::with_memory_bytes`] |
//! | ended and outdated sessions remembered by it | 65,536 | fixed |
//! | unknown ids remembered by it | 16,384, each for 1 s | fixed |
//! | age of a copy since the store was read | 30 s | [`Tiers::with_max_stale`] |
//! | age of a copy in this process | 5 s | [`Tiers::with_l1_max_age`] |
//! | one call of a shared cache, or of the bus | 50 ms | [`Tiers::with_cache_timeout`] |
//! | shared caches | 8 | fixed |
//! | what a shared cache has not received | 10,000 sessions each, then it is not read for `max_stale` | [`Tiers::with_outbox_capacity`] |
//! | a cache is given up | when 5 or more of its latest 10 calls failed | fixed |
//! | trials of a cache that is away | after 0.1 s, doubling up to 2 s, less up to a half at random | fixed |
//! | batches of read records on their way to a cache | 64, others are not kept | fixed |
//! | changes on their way to a cache | 32 per operation, of 256 operations; the others go into the outbox | fixed |
//! | changes waiting for a bus that fails | 10,000 sessions | fixed |
//! | what an operation waits for caches and the bus, after the store has answered | the time of one call | [`Tiers::with_cache_timeout`] |
//! | reads repeated because the session changed meanwhile | 3 | fixed |
//! | waiting for another request's read of the same session | 2 s, or the age of a copy in this process if that is less | fixed |
//! | asking the store again for a cache that missed a change | 2 s | fixed |
//! | error of the clock by which copies grow old | 10 ms on Linux: the kernel's tick | [`Clock::monotonic`](session_core::Clock::monotonic) |
//! | grace after the successor was presented | 30 s, at most 300 s | [`with_grace`](SessionManagerBuilder::with_grace) |
//! | attempts to redeem a transfer code | 10 a second, 20 at once, per client and process, for 10,000 clients | fixed |
//! | a pending sign-in | 10 minutes, 5 attempts at its second step | [`with_sign_in_attempts`](SessionManagerBuilder::with_sign_in_attempts) |
//! | successors that are being noted as presented | 1,024 sessions, others at their next use | fixed |
//! | a session that a sign-in is about to replace | refuses saves for twice the store deadline | fixed |
//! | tries to carry an end through that was not confirmed | 8 within about 30 s, for 1,000 ends at once | fixed |
//! | hashes moved to a new pepper key at once | 8 | fixed |
//! | waiting for the end | 10 s | [`shutdown`](SessionManager::shutdown) |
//!
//! # Metrics
//! Through the `metrics` facade; install a recorder before the manager is built. No label holds an
//! id, a user or an address.
//!
//! | name | labels |
//! |---|---|
//! | `session_validations_total` | `result` |
//! | `session_created_total` | |
//! | `session_ended_total` | `reason` |
//! | `session_purged_total` | |
//! | `session_touches_total` | `result`: `flushed`, `dropped` |
//! | `session_store_seconds` (0 for a call that answered without waiting) | `backend`, `operation` |
//! | `session_store_failures_total` | `backend`, `operation`, `kind` |
//! | `session_tier_reads_total` | `tier`, `result`: `hit`, `miss`, `failed`, `unknown` |
//! | `session_tier_serving` (1 or 0) | `tier` |
//! | `session_tier_outbox` (sessions) | `tier` |
//! | `session_tier_outbox_overflows_total` | `tier` |
//! | `session_stale_answers_total` | |
//! | `session_bus_messages_total`, `session_bus_resyncs_total`, `session_bus_unpublished_total` | |
//! | `session_worker_panics_total` | `worker` |
//! | `session_clock_jumps_total` | |
//! | `session_events_dropped_total`, `session_event_panics_total` | |
#![cfg_attr(docsrs, feature(doc_cfg))]

mod assurance;
mod backend;
mod builder;
mod by_id;
mod changes;
mod clocks;
mod create;
mod data;
mod devices;
mod directory;
mod ending;
mod ensure;
mod events;
mod follow_up;
mod in_flight;
mod info;
mod lifetime;
mod listing;
mod loads;
mod manager;
mod metrics;
mod new_session;
mod outage;
mod recording;
mod refresh;
mod rejection;
mod replace;
mod revoke;
mod rotate;
mod save;
mod session;
mod settings;
mod settle;
mod sweep;
mod tiers;
mod touch;
mod transfer;
mod user_data;
mod validate;
mod watch;
mod workers;
mod writers;

pub use session_core as core;

pub use assurance::StepUp;
pub use builder::SessionManagerBuilder;
pub use by_id::SessionEdit;
pub use create::Created;
pub use ensure::{Ensured, ExternalSession};
pub use info::{ClientView, EndView, SessionInfo};
pub use listing::{Paging, SessionPage};
pub use manager::SessionManager;
pub use new_session::NewSession;
pub use recording::{RecordIp, RecordUserAgent, Recording};
pub use refresh::Refreshed;
pub use rejection::{Rejection, ValidateError};
pub use session::Session;
pub use settings::{ConflictPolicy, RefreshPolicy, ReuseEnds, UserLimit};
pub use sweep::SweepReport;
pub use tiers::{Found, Health, Provenance, Source, TierHealth, TieredStore, Tiers};
pub use transfer::TransferCode;
pub use user_data::{Authentication, EraseReport, ExportedSession, UserExport};
