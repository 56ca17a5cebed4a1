//! Three processes on one PostgreSQL and one Redis, under every kind of fault: the guarantees hold,
//! and the lag of ends is measured.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs, reason = "tests")]

mod checker;
mod children;
mod node;
mod script;
mod wire;

use std::time::Duration;

use checker::{Limits, check};
use children::Nodes;
use script::{Stage, play};
use session_servers::{Kind, Options, Server};

/// The variable that sets the duration of the test in seconds: `SESSION_PROCESS_SECONDS=600`.
const SECONDS: &str = "SESSION_PROCESS_SECONDS";

/// The duration of one round of the script, in seconds.
const ROUND: u64 = 60;

#[test]
fn three_processes_keep_every_guarantee_under_faults() {
    let server =
        |kind| Server::for_test(kind, &Options::default().with_durable(kind == Kind::Postgres)).unwrap();
    let (Some(postgres), Some(redis)) = (server(Kind::Postgres), server(Kind::Redis)) else { return };
    let seconds = std::env::var(SECONDS).map_or(ROUND, |seconds| seconds.parse().expect(SECONDS));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (history, windows) = runtime.block_on(async {
        let mut stage = Stage::set(postgres, redis).await;
        let mut nodes = Nodes::start(&stage).await;
        for _ in 0..seconds.div_ceil(ROUND) {
            play(&mut stage, &mut nodes).await;
        }
        let history = nodes.stop().await;
        (history, stage.windows())
    });
    let limits = Limits {
        max_stale: node::MAX_STALE,
        l1_max_age: node::L1_MAX_AGE,
        // A busy machine wakes waiting tasks late. An operation that hangs takes forever.
        longest: node::DEADLINE + Duration::from_secs(8),
    };
    let report = check(&history, &windows, &limits);
    println!("{report}");
    assert!(report.violations.is_empty(), "{} violations of guarantees", report.violations.len());
    report.assert_busy();
}
