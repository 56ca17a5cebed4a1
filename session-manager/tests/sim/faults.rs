//! Faults that begin and end.

use std::sync::Arc;

use crate::crossings;
use crate::net::{Mode, Server};
use crate::node::Node;
use crate::plan::Profile;
use crate::world::{Sim, Time, ms};

/// Injects faults until that time, and ends all of them then.
pub(crate) async fn run(sim: Arc<Sim>, until: Time) {
    match sim.plan.profile {
        Profile::Calm | Profile::Sweeping | Profile::Silent | Profile::Outage => {}
        profile if profile.is_crossing() => crossings::break_things(&sim, until).await,
        Profile::OnlySecond => {
            let mode = sim.draw(|rng| *rng.choice(&[Mode::Refusing, Mode::Black]).expect("two"));
            sim.caches[0].server.set(mode, sim.now());
        }
        Profile::Recovering => {
            while sim.now() < until {
                sim.pass(ms(10) + sim.up_to(ms(120))).await;
                let (node, time) =
                    (sim.draw(|rng| rng.usize(..sim.plan.nodes())), ms(20) + sim.up_to(ms(200)));
                let cache = sim.draw(|rng| Arc::clone(&sim.caches[rng.usize(..sim.caches.len())]));
                if sim.chance(70) {
                    cut(&sim, &cache.server, node, time);
                } else {
                    break_server(&sim, &cache.server, time);
                }
            }
        }
        Profile::SlowReads => {
            sim.store(0).server.slow_down(0, ms(50) + sim.up_to(ms(400)));
            if sim.plan.bus && sim.chance(30) {
                sim.bus.disturb(ms(0), 30, 0);
            }
        }
        Profile::Forgetful => {
            while sim.now() < until {
                sim.pass(ms(10) + sim.up_to(ms(90))).await;
                let cache = sim.draw(|rng| Arc::clone(&sim.caches[rng.usize(..sim.caches.len())]));
                if sim.chance(40) {
                    cache.take_snapshot();
                } else {
                    sim.add("tombstone lost", cache.restore(sim.now()) as u64);
                }
            }
        }
        Profile::WithoutCaches => {
            for cache in &sim.caches {
                let modes = [Mode::Refusing, Mode::Black, Mode::Mute];
                let mode = sim.draw(|rng| *rng.choice(&modes).expect("three"));
                cache.server.set(mode, sim.now());
            }
            (0..sim.plan.nodes()).for_each(|node| sim.bus.cut(node));
        }
        _ => {
            if sim.plan.bus && sim.chance(50) {
                let (delay, loss, twice) = sim.draw(|rng| (rng.u64(..40), rng.u32(..30), rng.u32(..20)));
                sim.bus.disturb(ms(delay), loss, twice);
            }
            while sim.now() < until {
                sim.pass(ms(20) + sim.up_to(ms(380))).await;
                break_something(&sim);
            }
        }
    }
    sim.pass(until.saturating_sub(sim.now())).await;
    repair_all(&sim);
}

pub(crate) fn repair_all(sim: &Arc<Sim>) {
    sim.users.server.set(Mode::Up, sim.now());
    sim.stores.iter().for_each(|store| store.server.set(Mode::Up, sim.now()));
    sim.caches.iter().for_each(|cache| cache.server.set(Mode::Up, sim.now()));
    sim.store(0).server.slow_down(0, ms(0));
    sim.bus.disturb(ms(0), 0, 0);
    if sim.plan.profile == Profile::Jumping {
        sim.nodes.lock().iter().for_each(|node| node.set_clock(sim, 0));
    }
    for node in 0..sim.plan.nodes() {
        sim.store(node).server.cut(node, false, sim.now());
        sim.caches.iter().for_each(|cache| cache.server.cut(node, false, sim.now()));
        sim.bus.join(sim, node);
    }
}

/// For how long something stays broken: mostly shortly.
pub(crate) fn a_while(sim: &Sim) -> Time {
    if sim.chance(70) { ms(30) + sim.up_to(ms(400)) } else { ms(300) + sim.up_to(ms(2_500)) }
}

pub(crate) fn later(sim: &Arc<Sim>, after: Time, what: impl FnOnce(&Arc<Sim>) + Send + 'static) {
    let sim = Arc::clone(sim);
    tokio::spawn(async move {
        sim.pass(after).await;
        what(&sim);
    });
}

pub(crate) fn break_something(sim: &Arc<Sim>) {
    let node = sim.draw(|rng| rng.usize(..sim.plan.nodes()));
    let time = a_while(sim);
    match sim.draw(|rng| rng.u32(..100)) {
        0..=14 => break_server(sim, &sim.store(node).server, time),
        15..=19 => cut(sim, &sim.store(node).server, node, time),
        20..=59 => break_cache(sim, node, time),
        60..=74 if sim.plan.bus => {
            sim.count("node cut from the bus");
            sim.bus.cut(node);
            later(sim, time, move |sim| sim.bus.join(sim, node));
        }
        75..=84 => crash(sim, node),
        85..=89 if sim.plan.clocks_jump => {
            sim.count("clock set");
            let offset = sim.draw(|rng| rng.i64(-40_000..=40_000));
            let node: Arc<Node> = Arc::clone(&sim.nodes.lock()[node]);
            node.set_clock(sim, offset);
        }
        _ => {}
    }
}

pub(crate) fn break_server(sim: &Arc<Sim>, server: &Arc<Server>, time: Time) {
    let slow = Mode::Slow(ms(5) + if sim.chance(50) { sim.up_to(ms(100)) } else { sim.up_to(ms(1_900)) });
    let modes = [slow, slow, Mode::Black, Mode::Mute, Mode::Broken, Mode::Refusing, Mode::Paused];
    let mode = sim.draw(|rng| *rng.choice(&modes).expect("some"));
    server.set(mode, sim.now());
    let server = Arc::clone(server);
    later(sim, time, move |sim| server.set(Mode::Up, sim.now()));
}

pub(crate) fn cut(sim: &Arc<Sim>, server: &Arc<Server>, node: usize, time: Time) {
    server.cut(node, true, sim.now());
    let server = Arc::clone(server);
    later(sim, time, move |sim| server.cut(node, false, sim.now()));
}

fn break_cache(sim: &Arc<Sim>, node: usize, time: Time) {
    if sim.caches.is_empty() {
        return;
    }
    let cache = sim.draw(|rng| Arc::clone(&sim.caches[rng.usize(..sim.caches.len())]));
    match sim.draw(|rng| rng.u32(..100)) {
        0..=39 => break_server(sim, &cache.server, time),
        40..=59 => cut(sim, &cache.server, node, time),
        60..=69 => {
            cache.clear(sim.now());
            cache.server.set(Mode::Refusing, sim.now());
            sim.count("cache started again empty");
            later(sim, time, move |sim| cache.server.set(Mode::Up, sim.now()));
        }
        70..=79 => cache.take_snapshot(),
        80..=89 => {
            sim.count("cache started again from a snapshot");
            let lost = cache.restore(sim.now());
            sim.add("tombstone lost", lost as u64);
        }
        _ => {
            let lost = cache.evict(sim);
            sim.add("tombstone lost", lost as u64);
        }
    }
}

pub(crate) fn crash(sim: &Arc<Sim>, node: usize) {
    sim.count("crash");
    let node = Arc::clone(&sim.nodes.lock()[node]);
    node.crash(sim);
}
