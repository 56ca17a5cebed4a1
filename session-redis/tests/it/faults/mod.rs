//! The store when its server fails. Each test starts real servers of its own.
//!
//! Two results must never be confused: "there is no such session" and "unknown at the moment". So
//! while a server is down, every call ends within its timeout with a transient error, and when the
//! server is back, the same store works again.

mod audit;
pub(crate) mod calls;
mod cancel;
mod commands;
mod commit;
mod damage;
mod indexes;
mod kinds;
mod lab;
mod load;
mod memory;
mod network;
mod refusals;
mod replies;
mod sentinel;
mod server;
mod size;

#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "cluster")]
mod reshard;

use std::time::Duration;

/// The default timeout of a call.
const DEADLINE: Duration = Duration::from_secs(2);

/// How late a reply may be after its deadline, on an idle machine.
const LATE: Duration = Duration::from_millis(300);

/// Time within which a store works again once its server does, although the machine may stall for
/// some seconds.
const RECOVERY: Duration = Duration::from_secs(10);
