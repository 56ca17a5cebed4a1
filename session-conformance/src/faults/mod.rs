//! A store that fails on demand.
//!
//! [`FaultyStore`] wraps any store. A [`Faults`] handle, which every clone shares, arms and disarms
//! [`Fault`]s while the store is in use. It also counts the calls of each operation, so a test can
//! assert that an answer needed *no* call.
//!
//! | fault | result for the caller | effect on the store |
//! |---|---|---|
//! | [`Fault::error`] | that error | none |
//! | [`Fault::delay`] | the answer, late | complete, late |
//! | [`Fault::hang`] | none, ever | none |
//! | [`Fault::late`] | that error, at once | complete, late |
//! | [`Fault::lost_reply`] | that error | complete |
//!
//! A fault applies to every call unless it is limited to [one operation](Fault::on), to [the n-th
//! call](Fault::at_call), or to calls that [a seed selects](Fault::with_probability). Each armed
//! fault counts and selects independently. The faults that apply to one call take effect in the
//! order in which they were armed.
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
//! // The record was stored nevertheless, as the retry shows.
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
