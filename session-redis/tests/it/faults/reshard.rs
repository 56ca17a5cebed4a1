//! Slots that move between nodes while their sessions are used.

use std::collections::BTreeSet;
use std::time::Duration;

use session_conformance::fixtures::user;

use super::audit::assert_consistent;
use super::cluster::Nodes;
use super::lab::Raw;
use super::load::Load;
use crate::support::PATIENT;

/// Number of users whose slots move.
const USERS: usize = 10;

/// Moves slots, key by key, as `redis-cli --cluster reshard` does.
struct Move {
    from: Raw,
    to: Raw,
    third: Raw,
    ids: [String; 2],
    port: u16,
}

impl Move {
    async fn between(nodes: &Nodes, from: usize, to: usize) -> Self {
        let (mut source, mut target) = (nodes.raw(from).await, nodes.raw(to).await);
        let ids = [source.ask("CLUSTER MYID").await, target.ask("CLUSTER MYID").await];
        let port = nodes.cluster.nodes()[to].port();
        Self { from: source, to: target, third: nodes.raw(3 - from - to).await, ids, port }
    }

    async fn slot(&mut self, slot: u16) {
        let [from, to] = self.ids.clone();
        self.to.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {from}")).await;
        self.from.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {to}")).await;
        loop {
            let keys: Vec<String> = self.from.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 20")).await;
            if keys.is_empty() {
                break;
            }
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(self.port).arg("").arg(0).arg(5_000).arg("KEYS").arg(keys);
            let _: String = self.from.send(&migrate).await;
            // Gives calls the time to find the slot half moved.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        for node in [&mut self.to, &mut self.from, &mut self.third] {
            node.run(&format!("CLUSTER SETSLOT {slot} NODE {to}")).await;
        }
    }
}

async fn errors(raws: &mut [Raw], code: &str) -> u64 {
    let mut all = 0;
    for raw in raws {
        all += raw.errors(code).await;
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_succeed_while_slots_move() {
    let Some(nodes) = Nodes::start(0, &[]) else { return };
    let store = nodes.store_in(PATIENT);
    let mut raws = nodes.raws().await;
    let names = nodes.users_of(0, USERS).await;
    let mut slots = BTreeSet::new();
    for name in &names {
        slots
            .insert(raws[0].ask::<u16>(&format!("CLUSTER KEYSLOT {{{}}}", user(name).shard().index())).await);
    }
    let load = Load::of(names.into_iter(), &store, PATIENT);
    load.wait_for_rounds(100).await;
    let before = (errors(&mut raws, "MOVED").await, errors(&mut raws, "ASK").await);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let mut moving = Move::between(&nodes, from, to).await;
        for slot in &slots {
            moving.slot(*slot).await;
            load.wait_for_rounds(5).await;
        }
    }
    load.wait_for_rounds(100).await;
    let again = errors(&mut raws, "TRYAGAIN").await;
    let met = (errors(&mut raws, "MOVED").await - before.0, errors(&mut raws, "ASK").await - before.1);
    println!("MOVED and ASK: {met:?}, TRYAGAIN: {again}, failures: {}", load.failures());
    assert_eq!(load.failures(), 0, "{:?}", load.last_failure());
    assert!(met.0 > 0 && met.1 > 0, "MOVED and ASK: {met:?}");
    load.assert_kept().await;
    assert_consistent(&store, &nodes.keys, &mut raws).await;
}
