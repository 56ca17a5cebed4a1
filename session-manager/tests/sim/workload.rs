//! What clients do: few sessions, used by many at the same time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use session_core::rules::RequestClient;
use session_core::{EndReason, Error, ErrorKind, SessionId};
use session_manager::{Rejection, Session, ValidateError};

use crate::acts::external;
use crate::crossings;
use crate::history::{Answer, Call, Detail, Event};
use crate::net::Mode;
use crate::node::{Node, Running};
use crate::plan::Profile;
use crate::world::{Known, Sim, Time, ms};

/// A client of a node.
pub(crate) struct Client {
    pub(crate) sim: Arc<Sim>,
    pub(crate) node: Arc<Node>,
    /// Whether it is the first client of its node.
    pub(crate) first: bool,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) call: Call,
    pub(crate) session: Option<SessionId>,
    pub(crate) token: Option<String>,
    pub(crate) detail: Detail,
}

impl Ask {
    pub(crate) fn about(call: Call, known: &Known) -> Self {
        let token = known.tokens.last().cloned();
        Self { call, session: Some(known.id), token, detail: Detail::None }
    }

    /// About no session that is known yet.
    pub(crate) const fn new(call: Call, detail: Detail) -> Self {
        Self { call, session: None, token: None, detail }
    }
}

pub(crate) fn rejected(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::Ended(ended) if ended.reason == EndReason::CredentialChanged => "credentials changed",
        Rejection::Ended(ended) if ended.reason == EndReason::UserInactive => "user gone",
        Rejection::Ended(_) => "ended",
        Rejection::UserInactive => "inactive",
        Rejection::Expired(_) => "expired",
        Rejection::Unknown => "unknown",
        Rejection::WrongSecret => "wrong secret",
        Rejection::Malformed => "malformed",
        Rejection::TokenExpired => "token expired",
        _ => "denied",
    }
}

pub(crate) fn opened(outcome: Result<Session, ValidateError>) -> (Answer, Option<Session>) {
    match outcome {
        Ok(session) => {
            let (record, from) = (session.record(), session.provenance());
            let answer = Answer::Live {
                revision: record.revision.get(),
                seen: record.last_seen_at,
                source: from.source,
                verified_at: from.verified_at,
                degraded: from.degraded,
            };
            (answer, Some(session))
        }
        Err(ValidateError::Rejected(rejection)) => (Answer::Rejected(rejected(&rejection)), None),
        Err(ValidateError::Unavailable(error)) => (Answer::Unavailable(error.kind()), None),
        Err(_) => (Answer::Unavailable(ErrorKind::Other), None),
    }
}

pub(crate) fn done<T>(outcome: Result<T, Error>) -> (Answer, Option<T>) {
    match outcome {
        Ok(value) => (Answer::Done, Some(value)),
        Err(error) => (Answer::Failed(error.kind()), None),
    }
}

impl Client {
    /// Goes on until that time.
    pub(crate) async fn run(self, until: Time) {
        self.sim.pass(self.sim.up_to(ms(100))).await;
        while self.sim.now() < until {
            let drives = self.node.number == 0 && self.first;
            if drives && matches!(self.sim.plan.profile, Profile::Silent | Profile::Outage) {
                Box::pin(self.end_silently()).await;
            } else if self.sim.plan.profile.is_crossing() {
                Box::pin(crossings::step(&self)).await;
            } else if self.sim.plan.profile.is_focused() {
                Box::pin(self.focused_step()).await;
            } else {
                Box::pin(self.step()).await;
            }
            let pause = match self.sim.plan.profile.is_focused() {
                true => ms(35),
                false if self.sim.chance(50) => ms(10),
                false => ms(140),
            };
            self.sim.pass(self.sim.up_to(pause)).await;
        }
    }

    pub(crate) async fn step(&self) {
        let number = self.sim.draw(|rng| rng.u32(..100));
        let Some(known) = self.hot() else { return self.create().await };
        match number {
            0..=6 => self.create().await,
            7..=10 => self.ensure().await,
            11..=13 => self.probe().await,
            14..=21 => drop(self.open(Call::Authoritative, &known).await),
            22..=29 => self.save(&known).await,
            30..=32 => self.rotate(&known).await,
            33..=35 => self.logout(&known).await,
            36..=40 => self.revoke(&known).await,
            41 => self.revoke_others(&known).await,
            42 => self.revoke_all(&known).await,
            43..=44 => self.sweep().await,
            _ => drop(self.open(Call::Validate, &known).await),
        }
    }

    /// Mostly validations, and what the run is about.
    async fn focused_step(&self) {
        let (number, profile) = (self.sim.draw(|rng| rng.u32(..100)), self.sim.plan.profile);
        let Some(known) = self.hot() else { return self.create().await };
        let is_slow = profile == Profile::SlowReads && self.node.number == 0;
        let sweeps = profile == Profile::Sweeping && self.node.number == 0;
        match (profile, number) {
            (Profile::SlowReads, 0..=14) if is_slow => drop(self.open(Call::Authoritative, &known).await),
            (Profile::SlowReads, 15..=21) if is_slow => self.save(&known).await,
            (Profile::SlowReads, 22..=26) if is_slow => self.probe().await,
            (Profile::SlowReads, 27..=29) if is_slow => self.ensure().await,
            (Profile::SlowReads, _) if is_slow => drop(self.open(Call::Validate, &known).await),
            (Profile::SlowReads, 0..=39) => self.save(&known).await,
            (Profile::SlowReads, 40..=42) => self.revoke(&known).await,
            (Profile::SlowReads, 43..=45) => self.create().await,
            (Profile::SlowReads, 46..=47) => self.ensure().await,
            (Profile::Sweeping, 0..=29) if sweeps => self.sweep().await,
            (Profile::Silent | Profile::Outage, _) => drop(self.open(Call::Validate, &known).await),
            (_, 0..=5) => self.create().await,
            (_, 6..=10) => self.revoke(&known).await,
            (_, 11) => self.revoke_all(&known).await,
            (_, 12..=26) => self.save(&known).await,
            (_, 27..=31) => drop(self.open(Call::Authoritative, &known).await),
            _ => drop(self.open(Call::Validate, &known).await),
        }
    }

    /// Begins a session, lets all nodes use it, and has it ended by another program, which notifies no
    /// node.
    /// Meanwhile a cache may carry out writes late, or the other nodes lose the store.
    async fn end_silently(&self) {
        let sim = &self.sim;
        self.create().await;
        let Some(known) = self.hot() else { return };
        sim.pass(sim.up_to(ms(150))).await;
        let mut lasts = sim.plan.max_stale + ms(100) + sim.plan.l1_max_age;
        if sim.plan.profile == Profile::Outage {
            sim.pass(sim.up_to(ms(200))).await;
            for node in 1..sim.plan.nodes() {
                sim.store(node).server.cut(node, true, sim.now());
            }
            lasts += sim.plan.stale_if_error.unwrap_or_default();
        } else if sim.chance(50) {
            let cache = sim.draw(|rng| Arc::clone(&sim.caches[rng.usize(..sim.caches.len())]));
            cache.server.set(Mode::Paused, sim.now());
            sim.pass(ms(20) + sim.up_to(ms(100))).await;
            let (world, later) = (Arc::clone(sim), sim.up_to(ms(800)));
            tokio::spawn(async move {
                world.pass(later).await;
                cache.server.set(Mode::Up, world.now());
            });
        }
        sim.store(self.node.number).end_silently(sim, known.id);
        sim.pass(lasts).await;
        for node in 1..sim.plan.nodes() {
            sim.store(node).server.cut(node, false, sim.now());
        }
    }

    /// One of the latest sessions, the ended ones among them.
    pub(crate) fn hot(&self) -> Option<Known> {
        let sessions = self.sim.sessions.lock();
        let own = |known: &&Known| known.tenant == self.tenant();
        let few = sessions.iter().filter(own).count().min(match self.sim.plan.profile {
            Profile::Silent | Profile::Outage => 1,
            profile if profile.is_focused() && !profile.is_crossing() => 2,
            _ => 4,
        });
        (few > 0).then(|| {
            let back = self.sim.draw(|rng| rng.usize(..few));
            sessions.iter().rev().filter(own).nth(back).expect("there are as many").clone()
        })
    }

    /// Carries something out, with everything that may come in between, and writes down what came
    /// of it.
    pub(crate) async fn watch<T>(
        &self,
        running: &Running,
        ask: Ask,
        operation: impl Future<Output = (Answer, Option<T>)>,
    ) -> Option<T> {
        let (sim, node) = (&self.sim, self.node.number);
        let (start, wall) = (sim.now(), self.node.wall());
        let buried = ask.session.and_then(|id| self.buried(id));
        let disturbed = matches!(sim.plan.profile, Profile::Wild | Profile::SlowReads) || sim.plan.trouble;
        let disturbed = disturbed && !sim.repaired.load(Ordering::SeqCst);
        let impatient = disturbed && sim.chance(5);
        let hanging = sim.plan.deadline * 4;
        let limit = if impatient { sim.up_to(ms(15)) } else { hanging };
        let loads = ask.session.map(|id| sim.loads_of(node, id));
        let outcome = running.process.dead.run_until_cancelled(tokio::time::timeout(limit, operation)).await;
        let (answer, value) = match outcome {
            None => (Answer::Crashed, None),
            Some(Err(_)) if impatient => (Answer::Dropped, None),
            Some(Err(_)) => (Answer::Hung, None),
            Some(Ok((answer, value))) => (answer, value),
        };
        // Unless a cache lost it meanwhile.
        let is_live = matches!(answer, Answer::Live { .. });
        let still = || ask.session.and_then(|id| self.buried(id)) == buried;
        let buried = buried.filter(|_| is_live && still());
        let (end, wall_at_end) = (sim.now(), self.node.wall());
        let between = if self.node.jumped() { end - start } else { Duration::ZERO };
        let window = sim.plan.deadline.max(ms(2_000));
        let since = start.saturating_sub(window);
        let trouble = sim.store(node).server.troubled(node, since) || sim.users.server.troubled(node, since);
        let wall =
            (wall.min(wall_at_end).saturating_sub(between), wall.max(wall_at_end).saturating_add(between));
        let Ask { call, session, token, detail } = ask;
        if let (Some(id), true) = (session, self.is_ended(call, &answer)) {
            sim.known_ended.lock().insert((node, running.life, id));
        }
        if let (Answer::Dropped, true, Some(id)) = (&answer, call == Call::Validate, session)
            && loads != Some(sim.loads_of(node, id))
        {
            sim.count("dropped while reading");
        }
        self.node.watch(sim);
        let life = running.life;
        let event =
            Event { start, end, node, life, call, session, token, detail, answer, wall, buried, trouble };
        sim.events.lock().push(event);
        value
    }

    fn is_ended(&self, call: Call, answer: &Answer) -> bool {
        matches!(answer, Answer::Rejected("ended"))
            || (matches!(call, Call::Logout | Call::Revoke) && *answer == Answer::Done)
    }

    fn buried(&self, id: SessionId) -> Option<Time> {
        let now = self.sim.now();
        if self.sim.caches.is_empty() {
            let truth = self.sim.store(self.node.number).truth.lock();
            let (at, record) = truth.get(&id)?.last()?;
            return record.ended().map(|_| *at);
        }
        let scope = self.node.running().manager.scope()?;
        let since = self.sim.caches.iter().map(|cache| cache.buried_since(scope, id, now));
        since.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Opens a session, and takes the token that it hands out.
    pub(crate) async fn open(&self, call: Call, known: &Known) -> Option<Session> {
        let running = self.node.running();
        let manager = running.manager.clone();
        if let Some(name) = known.external {
            let external = external(name);
            let ask = Ask::about(Call::External, known);
            let opening =
                async { opened(manager.validate_external(&external, &RequestClient::default()).await) };
            let session = self.watch(&running, ask, opening).await?;
            crossings::tenants::check(self, &session);
            return Some(session);
        }
        let ask = Ask::about(call, known);
        let token = ask.token.clone().unwrap_or_default();
        let client = RequestClient::default();
        let opening = async {
            opened(match call {
                Call::Authoritative => manager.validate_authoritative(&token, &client).await,
                _ => manager.validate(&token, &client).await,
            })
        };
        let session = self.watch(&running, ask, opening).await?;
        crossings::tenants::check(self, &session);
        self.take_token(&session);
        Some(session)
    }

    pub(crate) fn tenant(&self) -> usize {
        self.sim.plan.tenant(self.node.number)
    }

    pub(crate) fn take_token(&self, session: &Session) {
        let Some(token) = session.take_token() else { return };
        let mut sessions = self.sim.sessions.lock();
        let token = token.expose().to_string();
        // An old token gives its successor again: the owner may hold a later one.
        let is_news = |known: &&mut Known| known.id == session.id() && !known.tokens.contains(&token);
        if let Some(known) = sessions.iter_mut().find(is_news) {
            known.tokens.push(token);
        }
    }
}
