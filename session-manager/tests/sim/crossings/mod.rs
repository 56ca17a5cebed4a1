//! Where two features meet: what clients do in such a run, what breaks, and the rules that the
//! history must keep.

pub(crate) mod clocks;
pub(crate) mod directory;
pub(crate) mod limits;
pub(crate) mod refresh;
mod rotation;
pub(crate) mod saves;
pub(crate) mod sign_in;
pub(crate) mod tenants;

use std::sync::Arc;

use session_core::SessionRecord;
use session_manager::SessionManagerBuilder;

use crate::checker::Checker;
use crate::faults;
use crate::history::{Call, Event};
use crate::net::{Mode, Process};
use crate::plan::Profile;
use crate::workload::Client;
use crate::world::{Sim, Time, ms};

/// Sets up what a crossing needs at a node.
pub(crate) fn configure(
    builder: SessionManagerBuilder,
    sim: &Arc<Sim>,
    process: &Arc<Process>,
) -> SessionManagerBuilder {
    let builder = directory::configure(builder, sim, process);
    let builder = refresh::configure(builder, sim);
    limits::configure(builder, sim, process)
}

/// What a client does next in a run about a crossing.
pub(crate) async fn step(client: &Client) {
    match client.sim.plan.profile {
        Profile::Directory => directory::step(client).await,
        Profile::Refreshing => refresh::step(client).await,
        Profile::Tenants => tenants::step(client).await,
        Profile::Evicting => limits::step(client).await,
        Profile::SigningIn => sign_in::step(client).await,
        Profile::Rotating => rotation::step(client).await,
        _ => clocks::step(client).await,
    }
}

/// Breaks things until that time.
pub(crate) async fn break_things(sim: &Arc<Sim>, until: Time) {
    if sim.plan.profile == Profile::Jumping {
        return clocks::jump(sim, until).await;
    }
    while sim.plan.trouble && sim.now() < until {
        sim.pass(ms(20) + sim.up_to(ms(250))).await;
        let node = sim.draw(|rng| rng.usize(..sim.plan.nodes()));
        let server = match sim.plan.profile {
            Profile::Directory if sim.chance(30) => &sim.users.server,
            Profile::Directory | Profile::Tenants => {
                faults::break_something(sim);
                continue;
            }
            _ if sim.chance(60) => &sim.store(node).server,
            _ => {
                faults::break_something(sim);
                continue;
            }
        };
        // Mostly writes that are carried out although no answer comes.
        let slow = Mode::Slow(sim.up_to(ms(300)));
        let modes = [Mode::Broken, Mode::Broken, Mode::Mute, Mode::Refusing, Mode::Paused, slow];
        let mode = sim.draw(|rng| *rng.choice(&modes).expect("some"));
        server.set(mode, sim.now());
        let (server, time) = (Arc::clone(server), ms(20) + sim.up_to(ms(200)));
        faults::later(sim, time, move |sim| server.set(Mode::Up, sim.now()));
    }
}

/// How long what was not confirmed is tried again, and more.
const TRIED_AGAIN: Time = ms(60_000);

/// Lets the nodes carry through what is still under way, and reads what they report.
pub(crate) async fn settle(sim: &Arc<Sim>) {
    if !sim.plan.profile.is_crossing() {
        return;
    }
    sim.pass(TRIED_AGAIN).await;
    limits::collect(sim).await;
}

impl Checker<'_> {
    /// The rules about crossings.
    pub(crate) fn crossings(&mut self) {
        self.saves_are_kept();
        self.nodes_follow_the_directory();
        self.refreshing();
        self.secrets_wait_for_their_successor();
        self.ends_are_reported_once();
        self.failed_sign_ins_leave_nothing();
        self.sign_ins_carry_over();
        self.clocks_that_jump_end_no_session();
        self.tenants_are_apart();
    }

    /// Whether a refusal is one that another rule judges, or legal.
    pub(crate) fn may_be_rejected(&self, event: &Event, why: &str, during: &[&SessionRecord]) -> bool {
        match why {
            "denied" => matches!(event.call, Call::RefreshOutside | Call::ValidateOutside),
            "token expired" => during.iter().any(|record| refresh::has_expired(record, event)),
            "inactive" | "credentials changed" | "user gone" => self.sim.plan.directory_lag.is_some(),
            _ => false,
        }
    }
}
