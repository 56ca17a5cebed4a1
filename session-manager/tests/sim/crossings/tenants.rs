//! Two tenants: a store of record each, and the same caches and the same bus.
//!
//! The other rules judge each tenant by its own store alone. So whatever reaches one from the other
//! is a violation there: an answer that its store never gave, an end that its store does not hold.

use session_core::rules::RequestClient;
use session_manager::Session;

use crate::checker::Checker;
use crate::history::{Answer, Call, Detail};
use crate::workload::{Ask, Client, opened};

/// The name that each session of a tenant bears.
pub(crate) fn name(tenant: usize) -> String {
    format!("of tenant {tenant}")
}

/// Checks that a session which a node opened is one of its tenant.
pub(crate) fn check(client: &Client, session: &Session) {
    let record = session.record();
    if record.username.as_deref() != Some(&*name(client.tenant())) {
        let what = format!("node {} opened a session {:?}", client.node.number, record.username);
        client.sim.violated("tenant-isolation", record.id, what);
    }
}

pub(crate) async fn step(client: &Client) {
    match client.sim.draw(|rng| rng.u32(..100)) {
        0..=19 => foreign(client).await,
        20..=29 => client.ensure().await,
        30..=34 => client.create().await,
        _ => client.step().await,
    }
}

/// Presents the token of another tenant's session.
async fn foreign(client: &Client) {
    let sim = &client.sim;
    let theirs: Vec<_> = {
        let sessions = sim.sessions.lock();
        let theirs = sessions.iter().filter(|known| known.tenant != client.tenant());
        theirs.filter(|known| known.external.is_none()).rev().take(3).cloned().collect()
    };
    let Some(known) = sim.draw(|rng| rng.choice(&theirs).cloned()) else { return };
    let token = known.tokens.last().cloned().expect("a session that the library issued has a token");
    let running = client.node.running();
    let manager = running.manager.clone();
    let ask = Ask { session: Some(known.id), ..Ask::new(Call::Foreign, Detail::None) };
    let opening = async { opened(manager.validate(&token, &RequestClient::default()).await) };
    drop(client.watch(&running, ask, opening).await);
}

impl Checker<'_> {
    /// `tenant-isolation`: the token of another tenant's session is that of no session at all.
    pub(crate) fn tenants_are_apart(&mut self) {
        for event in self.events.iter().filter(|event| event.call == Call::Foreign) {
            match &event.answer {
                Answer::Rejected("unknown") => self.sim.count("foreign token refused"),
                Answer::Live { .. } | Answer::Rejected(_) => {
                    self.wrong("tenant-isolation", event, "the session belongs to another tenant");
                }
                _ => {}
            }
        }
        let is_shared = |id| self.sim.stores.iter().all(|store| store.truth.lock().contains_key(id));
        if self.sim.plan.tenants > 1 && self.truth.keys().any(is_shared) {
            self.sim.count("id of two tenants");
        }
    }
}
