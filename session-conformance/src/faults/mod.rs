//! A store that fails when it is told to.
//!
//! [`FaultyStore`] wraps any store. A [`Faults`] handle, which every clone shares, arms and disarms [`Fault`]s while the store is
//! in use, and counts the calls of each operation: so a test can also say that something was answered *without* a call.
//!
//! | fault | what the caller sees | what the store did |
//! |---|---|---|
//! | [`Fault::error`] | that error | nothing |
//! | [`Fault::delay`] | the answer, late | all of it, late |
//! | [`Fault::hang`] | nothing, for ever | nothing |
//! | [`Fault::lost_reply`] | that error | all of it |
//!
//! A fault concerns every call until it is narrowed to [one operation](Fault::on), to [the n-th call](Fault::at_call), or to calls
//! that are [picked by a seed](Fault::with_probability). Of several armed faults each counts and picks for itself, and those that apply to
//! one call apply in the order in which they were armed.
//!
//! # Examples
//! ```
//! use session_conformance::faults::{Fault, FaultyStore};
//! use session_conformance::fixtures;
//! use session_conformance::reference::MapStore;
//! use session_core::{ErrorKind, SessionStore};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let store = FaultyStore::new(MapStore::default());
//! let faults = store.faults();
//! let record = fixtures::record("ann");
//!
//! faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("create").at_call(1));
//! let lost = store.create(record.clone().into(), None).await;
//! assert_eq!(lost.unwrap_err().kind(), ErrorKind::Timeout);
//!
//! // It happened all the same, as a retry finds out.
//! let again = store.create(record.into(), None).await;
//! assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
//! assert_eq!((faults.calls("create"), faults.calls("load")), (2, 0));
//! # });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod plan;
mod store;
#[cfg(test)]
mod tests;

pub use plan::{Fault, Faults, OPERATIONS};
pub use store::FaultyStore;
