//! What the store does when its server fails. Servers are real ones that each test starts for itself, and calls are made as an
//! application makes them: each with a deadline, after which its future is dropped.
//!
//! Two answers must never be mixed up: "there is no such session" and "nobody can tell now". So while a server is away, every call
//! ends in time with a transient error; and when it is back, the same store on the same client works again.

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

/// What a manager gives one operation.
const DEADLINE: Duration = Duration::from_secs(2);

/// How long a call is waited for that must be answered: a busy machine stands still for some seconds.
const PATIENT: Duration = Duration::from_secs(8);

/// How late an answer may be after its deadline. One whose thread is blocked is later.
const LATE: Duration = Duration::from_secs(5);

/// In which a store works again once its server does.
const RECOVERY: Duration = Duration::from_secs(20);

/// In which a case comes to its end.
const AT_MOST: Duration = Duration::from_secs(100);

/// Runs cases, which must not hang, each on servers of its own.
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        mod on_a_server_of_its_own {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    tokio::time::timeout($crate::faults::AT_MOST, super::$case()).await.expect("it hangs");
                }
            )+
        }
    };
}

use cases;
