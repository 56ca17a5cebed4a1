//! What the store does when its server fails. Servers are real ones that each test starts for itself.
//!
//! Two answers must never be mixed up: "there is no such session" and "nobody can tell now". So while a server is away, every call
//! ends in time with a transient error; and when it is back, the same store works again.

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

/// What a store gives one call.
const DEADLINE: Duration = Duration::from_secs(2);

/// How late an answer may be after its deadline, on a machine that is idle.
const LATE: Duration = Duration::from_millis(300);

/// In which a store works again once its server does, although the machine may stand still for some seconds.
const RECOVERY: Duration = Duration::from_secs(10);
