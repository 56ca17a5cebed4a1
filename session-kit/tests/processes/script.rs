//! The script of faults: what fails, when, and for how long.

use std::time::Duration;

use session_redis::redis;
use session_servers::{Proxy, Server};
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::checker::{Fault, Window};
use crate::children::Nodes;
use crate::wire::{Nanos, Settings, now};

/// The node whose bus connection fails.
const CUT_OFF: usize = 0;

/// The node that is killed.
const KILLED: usize = 1;

/// The node whose clock is ahead.
const AHEAD: usize = 2;

/// How far that clock is ahead.
const AHEAD_SECONDS: u64 = 40;

/// How long the consequences of a fault may last after its end.
const RECOVERY: Duration = Duration::from_secs(5);

/// The servers, and the proxy between the bus and one node.
pub(crate) struct Stage {
    postgres: Server,
    redis: Server,
    bus: Proxy,
    began: Nanos,
    windows: Vec<Window>,
}

impl Stage {
    pub(crate) async fn set(postgres: Server, redis: Server) -> Self {
        let bus = Proxy::to(redis.port()).await.unwrap();
        Self { postgres, redis, bus, began: now(), windows: Vec::new() }
    }

    pub(crate) fn settings(&self) -> Vec<Settings> {
        let node = |node| Settings {
            node,
            postgres: self.postgres.url(),
            redis: self.redis.url(),
            bus: if node == CUT_OFF { self.bus.url(&self.redis.url()) } else { self.redis.url() },
            prefix: "processes".to_owned(),
            ahead_seconds: if node == AHEAD { AHEAD_SECONDS } else { 0 },
        };
        (0..3).map(node).collect()
    }

    pub(crate) fn windows(self) -> Vec<Window> {
        self.windows
    }

    fn log(&self, what: &str) {
        println!("{:6.1} s  {what}", Duration::from_nanos(now() - self.began).as_secs_f64());
    }

    fn begin(&mut self, what: &str, fault: Fault) {
        self.log(what);
        self.windows.push(Window { fault, from: now(), until: Nanos::MAX, recovered: Nanos::MAX });
    }

    fn end(&mut self, what: &str) {
        self.log(what);
        let window = self.windows.last_mut().unwrap();
        window.until = now();
        window.recovered = window.until + u64::try_from(RECOVERY.as_nanos()).unwrap();
    }

    fn flush(&self) {
        block_in_place(|| {
            let mut connection = redis::Client::open(self.redis.url()).unwrap().get_connection().unwrap();
            redis::cmd("FLUSHALL").query::<()>(&mut connection).unwrap();
        });
    }
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// Plays the script once.
pub(crate) async fn play(stage: &mut Stage, nodes: &mut Nodes) {
    stage.log("no fault");
    seconds(7).await;

    stage.begin("the bus connection of node 0 is frozen", Fault::Bus { node: CUT_OFF });
    stage.bus.freeze();
    seconds(5).await;
    stage.bus.pass_new();
    stage.bus.cut();
    stage.end("node 0 can connect again");
    seconds(3).await;

    stage.begin("the bus connection of node 0 is cut", Fault::Other);
    stage.bus.cut();
    stage.end("node 0 can reconnect at once");
    seconds(2).await;

    stage.begin("Redis is flushed", Fault::Other);
    stage.flush();
    stage.end("Redis is empty and works");
    seconds(2).await;

    stage.begin("Redis hangs", Fault::Other);
    block_in_place(|| stage.redis.pause().unwrap());
    seconds(4).await;
    block_in_place(|| stage.redis.resume().unwrap());
    stage.end("Redis is resumed");
    seconds(3).await;

    stage.begin("Redis is killed", Fault::Other);
    block_in_place(|| stage.redis.kill().unwrap());
    seconds(3).await;
    block_in_place(|| stage.redis.start_again().unwrap());
    stage.end("Redis is restarted, empty");
    seconds(3).await;

    stage.begin("PostgreSQL hangs", Fault::Store);
    block_in_place(|| stage.postgres.pause().unwrap());
    seconds(6).await;
    block_in_place(|| stage.postgres.resume().unwrap());
    stage.end("PostgreSQL is resumed");
    seconds(4).await;

    stage.begin("PostgreSQL is killed", Fault::Store);
    block_in_place(|| stage.postgres.kill().unwrap());
    seconds(1).await;
    block_in_place(|| stage.postgres.start_again().unwrap());
    stage.end("PostgreSQL is restarted");
    seconds(5).await;

    stage.begin("node 1 is killed", Fault::Other);
    nodes.replace(KILLED).await;
    stage.end("node 1 is restarted");
    seconds(4).await;

    stage.log("no fault");
    seconds(6).await;
}
