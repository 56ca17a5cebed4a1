//! Tiers: copies of sessions in front of the store of record.
//!
//! ```text
//! validate -> this process's memory -> the first healthy shared cache -> the store of record
//! ```
//!
//! **A cache may only confirm.** A copy can answer "live", or "ended", which is final. Every other
//! answer (unknown, expired, wrong secret, denied) is given by the store of record alone, because
//! another node may know more.
//!
//! **Staleness** is counted from the start of the read of the store of record, and inherited by
//! every copy of a copy. It is judged by the time that each cache counted down itself *and* by the
//! wall clock, so that neither a paused machine nor a clock that was set makes a copy count longer.
//!
//! **Writes** go to the store of record, which alone decides the result; then this process's
//! memory; then every shared cache; then the bus. Changes that a shared cache did
//! not receive wait in an outbox, and this node does not read the cache until it has received them.
//!
//! **Scope.** Everything that is shared names the deployment and the store of record that it
//! belongs to, see [`Tiers::with_scope`]. What belongs to another is a miss.
//!
//! | meets | how |
//! |---|---|
//! | tenants, other applications | by the scope of entries and messages; this process's memory belongs to one store |
//! | a slow cache or bus | the answer goes out when the store has answered; the copies are updated within a limit of their own |
//! | an end that finds nothing to end | the copies of what had ended before go all the same |
//! | rotation, directory, uses | a copy may only confirm |
//! | clocks | a copy from a node whose clock is ahead counts within the assumed skew |
//!
//! | file | what it alone knows |
//! |---|---|
//! | `settings.rs` | which tiers there are, and their bounds |
//! | `find.rs` | how a session is looked up |
//! | `store.rs` | what reads and writes of the store of record mean for the copies |
//! | `writes.rs` | that the answer of the store does not wait for the copies, and what is forgotten without an answer |
//! | `ends.rs` | the same of ends, also of those that another node made |
//! | `spread.rs`, `bus_out.rs` | notifying the shared caches and the other nodes |
//! | `shared.rs` | one shared cache: its time limit, its health, what it missed (`breaker.rs`, `outbox.rs`) |
//! | `flights.rs` | one reader for all who ask for the same session |
//! | `listen.rs` | the messages of other nodes |
//! | `serving.rs` | the line of the log when another tier serves |
//! | `health.rs`, `metrics.rs` | what operators see |

pub(crate) mod breaker;
mod bus_out;
mod ends;
mod find;
mod flights;
mod health;
mod listen;
mod metrics;
mod outbox;
mod serving;
mod settings;
mod shared;
mod spread;
mod store;
mod writes;

pub use find::Found;
pub use health::{Health, Provenance, Source, TierHealth};
pub use settings::Tiers;
pub(crate) use spread::Notifying;
pub use store::TieredStore;
