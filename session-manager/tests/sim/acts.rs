//! What a client asks a node to do.

use session_core::rules::RequestClient;
use session_core::{Actor, Lifetime, Secret, SecretFormat, SessionToken, UserId};
use session_manager::{Ensured, ExternalSession, NewSession, Session};

use crate::crossings::{saves, tenants};
use crate::history::{Call, Detail};
use crate::plan::Profile;
use crate::workload::{Ask, Client, done, opened};
use crate::world::{Known, Repeatable, ms};

pub(crate) fn user(number: usize) -> UserId {
    ["ann", "bob", "eve"][number % 3].parse().expect("a name")
}

impl Client {
    pub(crate) async fn create(&self) {
        let number = self.sim.draw(|rng| rng.usize(..2));
        let mut new = NewSession::for_user(user(number));
        if self.sim.plan.profile == Profile::Sweeping {
            let whole = ms(self.sim.draw(|rng| rng.u64(1_000..2_500)));
            new = new.with_lifetime(Lifetime::new(None, whole).expect("within bounds"));
        } else if self.sim.chance(25) {
            let (idle, whole) = self.sim.draw(|rng| (rng.bool(), rng.u64(1_500..5_000)));
            let lifetime = Lifetime::new(idle.then_some(ms(1_500)), ms(whole)).expect("within bounds");
            new = new.with_lifetime(lifetime);
        }
        self.begin(new, number, Ask::new(Call::Create, Detail::None)).await;
    }

    /// Creates a session, and keeps its tokens for all clients.
    pub(crate) async fn begin(&self, new: NewSession, number: usize, ask: Ask) -> Option<Session> {
        let running = self.node.running();
        let manager = running.manager.clone();
        let new = new.with_username(tenants::name(self.tenant()));
        let created = async { done(manager.create(new).await) };
        let created = self.watch(&running, ask, created).await?;
        let (id, token) = (created.session.id(), created.token.expose().to_string());
        if let Some(event) = self.sim.events.lock().last_mut() {
            (event.session, event.token) = (Some(id), Some(token.clone()));
        }
        let refresh = created.refresh.iter().map(|refresh| refresh.expose().to_string()).collect();
        let tokens = vec![token];
        let known = Known { id, user: number, tenant: self.tenant(), tokens, refresh, external: None };
        self.sim.sessions.lock().push(known);
        Some(created.session)
    }

    fn some_external(&self) -> u32 {
        let own = |known: &&Known| known.tenant == self.tenant() && known.external.is_some();
        let made = self.sim.sessions.lock().iter().filter(own).count();
        let latest = u32::try_from(made).unwrap_or_default();
        latest.saturating_sub(self.sim.draw(|rng| rng.u32(..2)))
    }

    pub(crate) async fn ensure(&self) {
        let running = self.node.running();
        let manager = running.manager.clone();
        let name = self.some_external();
        let external = external(name);
        let id = external.id();
        let ask = Ask { session: Some(id), ..Ask::new(Call::Ensure, Detail::None) };
        let ensure = async {
            let named = external.clone().with_username(tenants::name(self.tenant()));
            let ensured = manager.ensure(named, &RequestClient::default()).await;
            let (answer, session) = opened(ensured.map(|ensured| match ensured {
                Ensured::Created(session) | Ensured::Exists(session) => session,
                _ => unreachable!("there are two answers"),
            }));
            (answer, session)
        };
        let Some(session) = self.watch(&running, ask, ensure).await else { return };
        tenants::check(self, &session);
        let (tenant, mut sessions) = (self.tenant(), self.sim.sessions.lock());
        if !sessions.iter().any(|known| known.id == id && known.tenant == tenant) {
            let (tokens, refresh) = (Vec::new(), Vec::new());
            sessions.push(Known { id, user: 2, tenant, tokens, refresh, external: Some(name) });
        }
    }

    /// Asks for a session that may not exist yet.
    pub(crate) async fn probe(&self) {
        let running = self.node.running();
        let manager = running.manager.clone();
        let id = external(self.some_external()).id();
        let random = Repeatable(parking_lot::Mutex::new(self.sim.draw(fastrand::Rng::fork)));
        let secret = Secret::mint(SecretFormat::default(), &random).expect("a generator that works");
        let token = SessionToken::from_parts(id, secret).expose().to_string();
        let ask = Ask { session: Some(id), ..Ask::new(Call::Probe, Detail::None) };
        let probing = async { opened(manager.validate(&token, &RequestClient::default()).await) };
        drop(self.watch(&running, ask, probing).await);
    }

    pub(crate) async fn save(&self, known: &Known) {
        let Some(session) = self.open(Call::Validate, known).await else { return };
        let running = self.node.running();
        let value = self.sim.draw(|rng| rng.u32(..));
        // One key that all write, and one that nothing else writes.
        session.insert("key", &value).expect("a number is JSON");
        let own = self.sim.next_key();
        session.insert(saves::key(own), &true).expect("a value is JSON");
        let saving = async { done(session.save().await) };
        let ask = Ask { detail: Detail::Saves(own), ..Ask::about(Call::Save, known) };
        self.watch(&running, ask, saving).await;
    }

    pub(crate) async fn rotate(&self, known: &Known) {
        let Some(session) = self.open(Call::Validate, known).await else { return };
        if known.external.is_some() {
            return;
        }
        let running = self.node.running();
        let manager = running.manager.clone();
        let rotating = async { done(manager.rotate(&session).await) };
        if self.watch(&running, Ask::about(Call::Rotate, known), rotating).await.is_some() {
            self.take_token(&session);
        }
    }

    pub(crate) async fn logout(&self, known: &Known) {
        let Some(session) = self.open(Call::Validate, known).await else { return };
        let running = self.node.running();
        let manager = running.manager.clone();
        let ending = async { done(manager.logout(&session).await) };
        self.watch(&running, Ask::about(Call::Logout, known), ending).await;
    }

    pub(crate) async fn revoke(&self, known: &Known) {
        let running = self.node.running();
        let manager = running.manager.clone();
        let ending = async { done(manager.revoke(known.id, &Actor::System).await) };
        self.watch(&running, Ask::about(Call::Revoke, known), ending).await;
    }

    pub(crate) async fn revoke_others(&self, known: &Known) {
        let Some(session) = self.open(Call::Validate, known).await else { return };
        let running = self.node.running();
        let manager = running.manager.clone();
        let ending = async { done(manager.revoke_others(&session).await) };
        if self.watch(&running, Ask::about(Call::RevokeOthers, known), ending).await.is_some() {
            self.take_token(&session);
        }
    }

    pub(crate) async fn revoke_all(&self, known: &Known) {
        let running = self.node.running();
        let manager = running.manager.clone();
        let name = user(known.user);
        let ending = async { done(manager.revoke_all(&name, &Actor::System).await) };
        self.watch(&running, Ask::about(Call::RevokeAll, known), ending).await;
    }

    pub(crate) async fn sweep(&self) {
        let running = self.node.running();
        let manager = running.manager.clone();
        let ask = Ask::new(Call::Sweep, Detail::None);
        self.watch(&running, ask, async { done(manager.sweep().await) }).await;
    }
}

pub(crate) fn external(name: u32) -> ExternalSession {
    ExternalSession::new(format!("external {name}"), user(2)).expect("a name")
}
