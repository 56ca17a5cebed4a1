//! The store's behaviour when its server fails. Each test starts its own real server, and makes
//! calls as an application does: each with a deadline, after which the future is dropped.
//!
//! The store must distinguish "there is no such session" from "this is currently unknown". While a
//! server is unavailable, every call therefore ends within its deadline with a transient error.
//! When the server is available again, the same store on the same client works again.

mod announced;
mod calls;
mod cancel;
mod commit;
mod fail_points;
mod lab;
mod load;
mod network;
mod replies;
mod server;

use std::time::Duration;

/// The deadline that a manager sets for one operation.
const DEADLINE: Duration = Duration::from_secs(2);

/// The deadline of a call that must succeed: a busy machine may stall for some seconds.
const PATIENT: Duration = Duration::from_secs(8);

/// The most time that a call may take beyond its deadline. A call that blocks its thread takes
/// longer.
const LATE: Duration = Duration::from_secs(5);

/// The time within which a store works again after its server does.
const RECOVERY: Duration = Duration::from_secs(20);

/// The time limit of a case.
const AT_MOST: Duration = Duration::from_secs(100);

/// Defines a test for each case, which starts its own server and must not hang.
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        mod on_a_server_of_its_own {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    tokio::time::timeout($crate::faults::AT_MOST, super::$case()).await.expect("the case hangs");
                }
            )+
        }
    };
}

use cases;
