//! Whether a history keeps every promise. Each check bears the name of the guarantee.
//!
//! Time here is true time. How much later than promised an answer may come:
//!
//! - `bounded-lag` by `max_stale`: nothing at all, unless two things fail together. A cache that
//!   carries out a write late counts the rest of an entry's life from then on; the wall clock
//!   refuses such an entry, but only as far as the clocks agree. So the slack is the lesser of the
//!   longest delay of a write of that session and how far the node was behind others.
//! - `bounded-lag` by `l1_max_age`: nothing, unless an answer that was given before arrived at that
//!   node later, because a copy counts from when it arrives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    ErrorKind, PreviousSecret, SecretHasher, SecretMatch, SecretPurpose, SessionId, SessionRecord,
    SessionToken, Successor,
};
use session_manager::Source;

use crate::history::{Answer, Call, Event, Violation};
use crate::plan::Profile;
use crate::store::{Store, Truth};
use crate::world::{Forgot, ReceivedChange, Sim, Time, ms};

/// How long nodes may not know what changed if nothing fails and there is a bus.
const CALM_LAG: Duration = ms(30);

/// Checks what concerns one tenant: what its store held, and what was asked of its nodes.
pub(crate) struct Checker<'a> {
    pub(crate) sim: &'a Sim,
    pub(crate) store: &'a Store,
    pub(crate) truth: &'a Truth,
    pub(crate) events: &'a [Event],
    pub(crate) found: Vec<Violation>,
}

pub(crate) fn check(sim: &Sim) {
    for store in &sim.stores {
        let truth = store.truth.lock().clone();
        let mut events = sim.events.lock().clone();
        events.retain(|event| sim.plan.tenant(event.node) == store.tenant);
        let mut checker = Checker { sim, store, truth: &truth, events: &events, found: Vec::new() };
        for event in &events {
            checker.check(event);
        }
        checker.nodes_never_go_back();
        checker.nodes_believe_messages();
        checker.nodes_forget_what_they_must();
        checker.touches_are_rare();
        checker.crossings();
        checker.count();
        sim.violations.lock().extend(checker.found);
    }
}

impl<'a> Checker<'a> {
    pub(crate) fn wrong(&mut self, invariant: &'static str, event: &Event, what: impl Into<String>) {
        let what = format!("{event}: {}", what.into());
        self.found.push(Violation { invariant, session: event.session, at: event.end, what });
    }

    pub(crate) fn states(&self, id: SessionId) -> &'a [(Time, Arc<SessionRecord>)] {
        self.truth.get(&id).map_or(&[], Vec::as_slice)
    }

    /// What the store held at any moment of a call.
    pub(crate) fn during(&self, event: &Event, id: SessionId) -> Vec<&SessionRecord> {
        let states = self.states(id);
        let begun = states.iter().rposition(|(at, _)| *at <= event.start).unwrap_or(0);
        states[begun..].iter().take_while(|(at, _)| *at <= event.end).map(|(_, record)| &**record).collect()
    }

    pub(crate) fn ended_at(&self, id: SessionId) -> Option<Time> {
        self.states(id).iter().find(|(_, record)| record.ended().is_some()).map(|(at, _)| *at)
    }

    fn check(&mut self, event: &Event) {
        self.in_time(event);
        match (&event.answer, event.session) {
            (Answer::Live { .. }, Some(id)) => self.live(event, id),
            (Answer::Rejected(why), Some(id)) => self.rejected(event, id, why),
            (Answer::Unavailable(kind) | Answer::Failed(kind), _) => self.failed(event, *kind),
            (Answer::Done, _) => self.done(event),
            _ => {}
        }
    }

    fn in_time(&mut self, event: &Event) {
        let calls = if event.call == Call::Sweep { 2 } else { 1 };
        let limit = self.sim.plan.deadline * calls + ms(100);
        if event.answer == Answer::Hung || event.end - event.start > limit {
            self.wrong("bounded-time", event, format!("it took {:?}", event.end - event.start));
        }
    }

    fn live(&mut self, event: &Event, id: SessionId) {
        let Answer::Live { revision, source, degraded, .. } = event.answer else { return };
        let states = self.states(id);
        let is_it = |(_, record): &&(Time, Arc<SessionRecord>)| {
            record.revision.get() == revision && record.ended().is_none()
        };
        if states.iter().find(is_it).is_none_or(|(at, _)| *at > event.end) {
            return self.wrong("bounded-lag", event, "the store never held this");
        }
        // When it became outdated.
        let Some((outdated, _)) = states.iter().rev().take_while(|state| !is_it(state)).last() else {
            return;
        };
        let outdated = *outdated;
        let ended = self.ended_at(id);
        if !event.call.is_cached_read() && outdated < event.start {
            let name = if ended.is_some_and(|at| at < event.start) { "revocation-wins" } else { "monotonic" };
            return self.wrong(name, event, "the store of record had answered otherwise before");
        }
        let limit = match self.sim.plan.stale_if_error.filter(|_| degraded) {
            Some(limit) => limit,
            None => self.sim.plan.max_stale,
        };
        let slack = self.slack(event.node, id);
        if event.start > outdated + limit + slack {
            let what = format!("outdated since {} ms, slack {slack:?}", outdated.as_millis());
            self.wrong("bounded-lag", event, what);
        }
        if let Some(buried) = event.buried.filter(|_| !degraded && ended.is_some()) {
            let age = self.sim.plan.l1_max_age;
            let taken = event.start.saturating_sub(age);
            if event.start > buried + age && !self.sim.has_old_reply(event.node, buried, taken) {
                let what = format!("every tier knew the end since {} ms ({source:?})", buried.as_millis());
                self.wrong("bounded-lag", event, what);
            }
        }
        let plan = &self.sim.plan;
        let lag = match plan.profile {
            // The others receive it when each cache was notified, or did not answer.
            _ if plan.bus => {
                CALM_LAG + if plan.profile == Profile::Calm { ms(0) } else { plan.cache_timeout }
            }
            _ if plan.memory => CALM_LAG + plan.l1_max_age,
            _ => CALM_LAG,
        };
        if plan.profile.is_quiet() && event.start > outdated + lag {
            let what = format!("nothing failed, and it was outdated since {} ms", outdated.as_millis());
            self.wrong("bounded-lag", event, what);
        }
    }

    /// How much longer than `max_stale` a node may take a copy for fresh: as much as the time that
    /// a cache counted too long, if the node's clock is behind that of the writer.
    fn slack(&self, node: usize, id: SessionId) -> Duration {
        let ranges = self.sim.clock_ranges.lock();
        let latest = ranges.iter().map(|(_, high)| *high).max().unwrap_or_default();
        let behind = ms((latest - ranges[node].0).unsigned_abs());
        let late = self.sim.caches.iter().map(|cache| cache.latest_put(id)).max().unwrap_or_default();
        behind.min(late)
    }

    /// After a message reached a process, the process answers nothing older.
    fn nodes_believe_messages(&mut self) {
        let received = self.sim.received.lock().clone();
        for event in self.events {
            let (Answer::Live { revision, .. }, Some(id)) = (&event.answer, event.session) else { continue };
            let Some(messages) = received.get(&(event.node, event.life, id)) else { continue };
            let ignored = |message: &&ReceivedChange| {
                message.at < event.start && (message.ended || message.revision > *revision)
            };
            if let Some(message) = messages.iter().find(ignored) {
                self.wrong("nodes believe messages", event, format!("after {message:?}"));
            }
            // A read is repeated when it was overtaken, but not for ever; and rotation may take
            // time after it.
            let overtaken = |message: &&ReceivedChange| message.at >= event.start && message.at < event.end;
            let end = messages.iter().filter(overtaken).find(|message| message.ended);
            let is_simple = self.sim.plan.profile == Profile::SlowReads && event.call == Call::Validate;
            if let (true, Some(end)) = (is_simple, end)
                && self.overtaken(event, messages) < 3
            {
                self.wrong("nodes believe messages", event, format!("meanwhile {end:?}"));
            }
        }
    }

    /// How often the read may have been repeated that a call waited for.
    fn overtaken(&self, event: &Event, messages: &[ReceivedChange]) -> usize {
        let here = |other: &&Event| (other.node, other.life) == (event.node, event.life);
        let with = |other: &&Event| other.start <= event.start && other.end >= event.start;
        let together = self.events.iter().filter(here).filter(with);
        let began = together.map(|other| other.start).min().unwrap_or(event.start);
        let (within, forgot) = (began..=event.end, self.sim.forgot.lock());
        let changes = self.events.iter().filter(here).filter(|other| {
            !other.call.is_read() && other.call != Call::Validate && within.contains(&other.end)
        });
        messages.iter().filter(|message| within.contains(&message.at)).count()
            + changes.count()
            + forgot.iter().filter(|forgot| forgot.node == event.node && within.contains(&forgot.at)).count()
    }

    /// After a write without an answer, and after messages were lost, a process uses no copy from
    /// before.
    fn nodes_forget_what_they_must(&mut self) {
        // Copies from a cache are older than the moment in which they were taken.
        if !self.sim.caches.is_empty() {
            return;
        }
        let nodes = self.sim.nodes.lock().clone();
        let forgot = self.sim.forgot.lock().clone();
        for event in self.events {
            let Answer::Live { source: Source::Memory, verified_at, degraded: false, .. } = event.answer
            else {
                continue;
            };
            if nodes[event.node].jumped() {
                continue;
            }
            let concerns = |forgot: &&Forgot| {
                (forgot.node, forgot.life) == (event.node, event.life)
                    && forgot.id.is_none_or(|id| Some(id) == event.session)
            };
            let kept = |forgot: &&Forgot| forgot.at < event.start && verified_at < forgot.wall;
            if let Some(forgot) = forgot.iter().filter(concerns).find(kept) {
                self.wrong("nodes forget what they must", event, format!("{forgot:?}"));
            }
        }
    }

    fn rejected(&mut self, event: &Event, id: SessionId, why: &str) {
        // The call may have read what changed in the millisecond in which it began.
        let earlier = Event { start: event.start.saturating_sub(ms(1)), ..event.clone() };
        let during = self.during(&earlier, id);
        let legal = match why {
            "ended" => self.ended_at(id).is_some_and(|at| at <= event.end),
            "expired" => during.iter().any(|record| !record.is_live(event.wall.1)),
            "wrong secret" if event.call.is_refresh() => self.is_unheard_of(event, &during),
            "wrong secret" => {
                event.call == Call::Probe || during.iter().any(|record| self.is_wrong(record, event))
            }
            "unknown" => event.call == Call::Foreign || self.may_be_unknown(event, id),
            _ => self.may_be_rejected(event, why, &during),
        };
        if !legal {
            let name = if why == "unknown" { "durable-login" } else { "outage-is-not-logout" };
            self.wrong(name, event, format!("{} states meanwhile", during.len()));
        }
    }

    /// Whether the presented token was not the session's at some moment of the call.
    fn is_wrong(&self, record: &SessionRecord, event: &Event) -> bool {
        let Some(token) = event.token.as_ref().and_then(|token| SessionToken::parse(token).ok()) else {
            return true;
        };
        let Some(stored) = &record.secret else { return true };
        let hasher = SecretHasher::plain();
        let matches = |hash| {
            hasher.verify(SecretPurpose::Session, record.id, token.secret(), hash) == SecretMatch::Match
        };
        let grace = self.sim.plan.grace();
        let counts = |old: &PreviousSecret| match old.successor {
            Successor::Presented(at) => event.wall.1 <= at.saturating_add(grace),
            _ => true,
        };
        let previous = stored.previous.as_ref();
        !matches(&stored.current) && !previous.is_some_and(|old| counts(old) && matches(&old.hash))
    }

    /// Not stored when the call began; or another process stored it less than a second before, and
    /// this one does not know it yet.
    fn may_be_unknown(&self, event: &Event, id: SessionId) -> bool {
        let Some(created) = self.states(id).first().map(|(at, _)| *at) else { return true };
        let here = |other: &Event| {
            (other.node, other.life) == (event.node, event.life)
                && other.session == Some(id)
                && other.end < event.start
                // What had ended before is no news.
                && !matches!(other.call, Call::Revoke | Call::RevokeAll | Call::RevokeOthers)
                && matches!(other.answer, Answer::Live { .. } | Answer::Done)
        };
        let known_here = event.call == Call::Probe && self.events.iter().any(here);
        let remembered = if event.call == Call::Probe { ms(1_000) + self.sim.slowest_reply() } else { ms(0) };
        created + remembered >= event.start && !known_here
    }

    fn failed(&mut self, event: &Event, kind: ErrorKind) {
        let id = event.session;
        let ended = id.and_then(|id| self.ended_at(id)).is_some_and(|at| at <= event.end);
        let legal = match kind {
            ErrorKind::Timeout => event.trouble,
            // Whether the clock jumped is judged by the rule about clocks.
            ErrorKind::Unavailable if event.call == Call::Sweep && self.sim.plan.clocks_jump => true,
            ErrorKind::Unavailable => event.trouble || id.is_some_and(|id| self.is_unconfirmed(event, id)),
            ErrorKind::Conflict => {
                matches!(event.call, Call::Save | Call::Rotate | Call::RevokeOthers | Call::SignIn)
            }
            ErrorKind::Ended => ended || self.is_superseded(event),
            // The library issued no secret for an external session.
            ErrorKind::Invalid if event.call == Call::RevokeOthers => event.token.is_none(),
            ErrorKind::Invalid => self.may_be_refused(event),
            _ => false,
        };
        if !legal {
            self.wrong("cache-never-fatal", event, "the store was well");
        }
    }

    /// Whether a secret was being replaced at some moment of the call, or its writer died over it:
    /// an old token is asked to try again.
    fn is_unconfirmed(&self, event: &Event, id: SessionId) -> bool {
        let unconfirmed = |record: &&SessionRecord| {
            let successor = record.secret.as_ref().and_then(session_core::SecretState::successor);
            successor == Some(Successor::Unconfirmed)
        };
        // The call may have read at the very moment at which the writer confirmed.
        let earlier = Event { start: event.start.saturating_sub(ms(1)), ..event.clone() };
        event.token.is_some() && self.during(&earlier, id).iter().any(unconfirmed)
    }

    fn done(&mut self, event: &Event) {
        let must_be_stored = matches!(event.call, Call::Create | Call::SignIn);
        if must_be_stored && event.session.is_none_or(|id| self.during(event, id).is_empty()) {
            self.wrong("durable-login", event, "the store does not have it");
        }
        for id in self.ended_by(event) {
            if self.ended_at(id).is_none_or(|at| at > event.end) {
                self.wrong("revocation-wins", event, format!("{id} is still active"));
            }
        }
    }

    /// Sessions that must have ended when this call returned.
    pub(crate) fn ended_by(&self, event: &Event) -> Vec<SessionId> {
        // A session that a node created whose clock was further ahead than assumed is out of reach.
        let latest = event.wall.0.saturating_add(self.sim.plan.skew);
        let before = |id: &SessionId| {
            let first = self.states(*id).first();
            first.is_some_and(|(at, record)| *at < event.start && record.created_at <= latest)
        };
        let owner = |id: SessionId| self.states(id).first().and_then(|(_, record)| record.user_id.clone());
        match (event.call, event.session) {
            (Call::Logout | Call::Revoke, Some(id)) => vec![id],
            (Call::RevokeAll | Call::RevokeOthers, Some(id)) => {
                let keeps = event.call == Call::RevokeOthers;
                let same = |other: &&SessionId| owner(**other) == owner(id) && before(other);
                let others = self.truth.keys().filter(same).copied();
                others.filter(|other| !(keeps && *other == id)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The answers of one process about one session never turn back.
    fn nodes_never_go_back(&mut self) {
        let mut answers: BTreeMap<_, Vec<&Event>> = BTreeMap::new();
        for event in self.events {
            answers.entry((event.node, event.life, event.session)).or_default().push(event);
        }
        for events in answers.values() {
            for later in events {
                let Answer::Live { revision, seen, verified_at, .. } = later.answer else { continue };
                let before = events.iter().filter(|event| event.end < later.start);
                for earlier in before {
                    match earlier.answer {
                        Answer::Rejected("ended") => {
                            self.wrong("no-resurrection", later, format!("after {earlier}"));
                        }
                        // Who keeps nothing cannot know.
                        Answer::Live { revision: higher, seen: saw, verified_at: before, .. }
                            if self.sim.plan.memory =>
                        {
                            // Of two copies of one revision the one counts that was verified later,
                            // by clocks that may differ: so its last use may be an earlier one.
                            let by_another_clock = self.clocks_differ() && verified_at >= before;
                            let must_forget = self.forgot_between(earlier, later);
                            // A copy that was given up after a write without an answer may have
                            // been newer than that of a shared cache.
                            let is_allowed = must_forget
                                && matches!(later.answer, Answer::Live { source: Source::Shared(_), .. });
                            if higher > revision && !is_allowed {
                                self.wrong("monotonic", later, format!("after {earlier}"));
                            }
                            let forgot = forgot(events, later) || must_forget;
                            if higher == revision && saw > seen && !forgot && !by_another_clock {
                                self.wrong(
                                    "monotonic",
                                    later,
                                    format!("the last-seen time, after {earlier}"),
                                );
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn clocks_differ(&self) -> bool {
        let ranges = self.sim.clock_ranges.lock();
        ranges.iter().any(|range| *range != ranges[0] || range.0 != range.1)
    }

    /// Whether a write of the background was not answered, or messages were lost, between two
    /// calls: then the node forgot its copy.
    fn forgot_between(&self, earlier: &Event, later: &Event) -> bool {
        let concerns = |forgot: &Forgot| {
            (forgot.node, forgot.life) == (later.node, later.life)
                && forgot.id.is_none_or(|id| Some(id) == later.session)
                && (earlier.start..=later.end).contains(&forgot.at)
        };
        self.sim.forgot.lock().iter().any(concerns)
    }

    fn touches_are_rare(&mut self) {
        let nodes = self.sim.nodes.lock().clone();
        let touches = self.store.touches.lock().clone();
        for ((node, life), written) in touches {
            if nodes[node].jumped() {
                continue;
            }
            let mut last = BTreeMap::new();
            for touch in written {
                let Some(before) = last.insert(touch.id, touch.at) else { continue };
                let idle = self.states(touch.id).first().and_then(|(_, record)| record.idle_timeout);
                let interval = self.sim.plan.touch_interval;
                let interval = idle.map_or(interval, |idle| interval.min(idle / 10));
                // The same use may be written twice: by the batch, and by a request that must know.
                if touch.at != before && touch.at.since(before) < interval {
                    let what = format!("node {node}.{life} wrote uses of {before:?} and {:?}", touch.at);
                    let (invariant, session) = ("one store write per minute", Some(touch.id));
                    self.found.push(Violation { invariant, session, at: self.sim.now(), what });
                }
            }
        }
    }
}

/// Whether a write before that call was not answered: then the node forgot its copy, and the
/// last-seen time with it.
fn forgot(events: &[&Event], call: &Event) -> bool {
    let before = events.iter().filter(|event| event.start <= call.end);
    let answered = |event: &&Event| matches!(event.answer, Answer::Done | Answer::Live { .. });
    before.filter(|event| !event.call.is_read()).any(|event| !answered(event))
}
