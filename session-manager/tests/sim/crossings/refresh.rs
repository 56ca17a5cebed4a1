//! Pairs of tokens that are refreshed: by their owners, by thieves with an old copy, and from where
//! a rule denies it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use session_core::rules::{Facts, Reason, RequestClient, RuleSet, ValidationRule, Verdict};
use session_core::{
    EndReason, PreviousSecret, RefreshToken, SecretHash, SecretHasher, SecretMatch, SecretPurpose,
    SessionRecord, Successor, Timestamp,
};
use session_manager::{NewSession, RefreshPolicy, SessionManagerBuilder, ValidateError};

use crate::acts::user;
use crate::checker::Checker;
use crate::history::{Answer, Call, Detail, Event, Violation};
use crate::workload::{Ask, Client, opened};
use crate::world::{BEGIN, Known, Sim, Time, ms};

/// The refresh token that each refresh token was exchanged for.
#[derive(Debug, Default)]
pub(crate) struct Successors(Mutex<BTreeMap<String, String>>);

/// Denies requests from one address.
#[derive(Debug)]
struct NotFromOutside;

const OUTSIDE: &str = "198.51.100.1";

impl ValidationRule for NotFromOutside {
    fn name(&self) -> &'static str {
        "not from outside"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        if facts.client.ip == OUTSIDE.parse().ok() { Verdict::Deny(Reason::Custom) } else { Verdict::Allow }
    }
}

pub(crate) fn configure(builder: SessionManagerBuilder, sim: &Arc<Sim>) -> SessionManagerBuilder {
    if !sim.plan.denies {
        return builder;
    }
    let policy = RefreshPolicy::default().with_access(ms(1_000)).with_refresh(ms(60_000));
    builder.with_rules(RuleSet::none().with(NotFromOutside)).with_refresh(policy)
}

pub(crate) async fn step(client: &Client) {
    let number = client.sim.draw(|rng| rng.u32(..100));
    let Some(known) = client.hot() else { return begin(client).await };
    let latest = known.refresh.last().cloned();
    match (number, latest) {
        (0..=5, _) | (_, None) => begin(client).await,
        (6..=29, Some(token)) => refresh(client, &known, token, Call::Refresh).await,
        (30..=44, Some(token)) => refresh(client, &known, token, Call::RefreshOutside).await,
        (45..=47, Some(_)) => {
            let copied = client.sim.draw(|rng| rng.choice(&known.refresh).cloned());
            refresh(client, &known, copied.expect("there is one"), Call::Refresh).await;
        }
        (48..=55, _) => validate_outside(client, &known).await,
        (56..=60, _) => client.save(&known).await,
        (61, _) => client.revoke(&known).await,
        _ => drop(client.open(Call::Validate, &known).await),
    }
}

async fn begin(client: &Client) {
    let number = client.sim.draw(|rng| rng.usize(..2));
    let new = NewSession::for_user(user(number)).with_refresh(true);
    client.begin(new, number, Ask::new(Call::Create, Detail::None)).await;
}

fn sender(call: Call) -> RequestClient<'static> {
    let is_outside = matches!(call, Call::RefreshOutside | Call::ValidateOutside);
    RequestClient::new(is_outside.then(|| OUTSIDE.parse().expect("an address")), None)
}

async fn refresh(client: &Client, known: &Known, token: String, call: Call) {
    let (sim, running) = (&client.sim, client.node.running());
    let manager = running.manager.clone();
    let ask = Ask { token: Some(token.clone()), ..Ask::about(call, known) };
    let refreshing = async {
        match manager.refresh(&token, &sender(call)).await {
            Ok(refreshed) => (opened(Ok(refreshed.session.clone())).0, Some(refreshed)),
            Err(error) => (opened(Err::<_, ValidateError>(error)).0, None),
        }
    };
    let Some(refreshed) = client.watch(&running, ask, refreshing).await else { return };
    let (access, next) = (refreshed.token.expose().to_string(), refreshed.refresh.expose().to_string());
    let earlier = sim.pairs.0.lock().insert(token.clone(), next.clone());
    match earlier {
        Some(earlier) if earlier != next => sim.violated("one-successor", known.id, "a token gave two pairs"),
        Some(_) => sim.count("same pair again"),
        None => {}
    }
    let mut sessions = sim.sessions.lock();
    let Some(known) = sessions.iter_mut().find(|other| other.id == known.id) else { return };
    // An answer that comes late, or to a thief, is not what the owner goes on with.
    if known.refresh.last() == Some(&token) {
        known.refresh.push(next);
        known.tokens.push(access);
    }
}

async fn validate_outside(client: &Client, known: &Known) {
    let running = client.node.running();
    let manager = running.manager.clone();
    let ask = Ask::about(Call::ValidateOutside, known);
    let token = ask.token.clone().unwrap_or_default();
    let opening = async { opened(manager.validate(&token, &sender(Call::ValidateOutside)).await) };
    drop(client.watch(&running, ask, opening).await);
}

/// Whether a token of a pair may be past its end.
pub(crate) fn has_expired(record: &SessionRecord, event: &Event) -> bool {
    let access = record.secret.as_ref().and_then(|secret| secret.expires_at);
    let refresh = record.refresh.as_ref().map(|refresh| refresh.expires_at);
    let end = if event.call.is_refresh() { refresh } else { access };
    end.is_some_and(|end| end <= event.wall.1)
}

/// What a refresh token is to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Counts,
    Spent,
    Unknown,
}

fn standing(record: &SessionRecord, token: &str, now: Timestamp, grace: Time) -> Standing {
    let (Some(state), Ok(token)) = (&record.refresh, RefreshToken::parse(token)) else {
        return Standing::Unknown;
    };
    let hasher = SecretHasher::plain();
    let is = |hash: &SecretHash| {
        hasher.verify(SecretPurpose::Refresh, record.id, token.secret(), hash) == SecretMatch::Match
    };
    let counts = |previous: &PreviousSecret| match previous.successor {
        Successor::Presented(at) => now <= at.saturating_add(grace),
        _ => true,
    };
    match &state.secret.previous {
        _ if is(&state.secret.current) => Standing::Counts,
        Some(previous) if is(&previous.hash) && counts(previous) => Standing::Counts,
        Some(previous) if is(&previous.hash) => Standing::Spent,
        _ if state.spent.iter().any(is) => Standing::Spent,
        _ => Standing::Unknown,
    }
}

/// For how long a call that was not answered may still be carried out.
const LATE: Time = ms(4_000);

impl Checker<'_> {
    /// Whether a refresh token may have been none of the session's.
    pub(crate) fn is_unheard_of(&self, event: &Event, during: &[&SessionRecord]) -> bool {
        let (token, grace) = (event.token.as_deref().unwrap_or_default(), self.sim.plan.grace());
        during.iter().any(|record| standing(record, token, event.wall.1, grace) == Standing::Unknown)
    }

    /// The calls that may have written a refresh of a session at that time.
    fn refreshes_at(&self, id: session_core::SessionId, at: Time) -> impl Iterator<Item = &Event> {
        let answered = |event: &Event| matches!(event.answer, Answer::Live { .. } | Answer::Rejected(_));
        self.events.iter().filter(move |event| {
            let until = if answered(event) { event.end } else { event.end + LATE };
            event.call == Call::Refresh && event.session == Some(id) && (event.start..=until).contains(&at)
        })
    }

    pub(crate) fn refreshing(&mut self) {
        if !self.sim.plan.denies {
            return;
        }
        for event in self.events {
            self.rules_are_obeyed(event);
            self.reuse_is_noticed(event);
        }
        for (id, states) in self.truth {
            for ((_, before), (at, after)) in states.iter().zip(&states[1..]) {
                let wrong = match (&before.refresh, &after.refresh, after.ended()) {
                    (Some(old), Some(new), _) if new.generation != old.generation => {
                        self.refreshes_at(*id, *at).next().is_none().then_some("denied-changes-nothing")
                    }
                    (_, _, Some(ended)) if ended.reason == EndReason::RefreshReuse => {
                        self.sim.count("theft noticed");
                        let is_theft = self.refreshes_at(*id, *at).any(|event| self.is_spent(event, *at));
                        (!is_theft).then_some("no-false-theft")
                    }
                    _ => None,
                };
                if let Some(invariant) = wrong {
                    let what = format!("revision {} follows from no call", after.revision.get());
                    self.found.push(Violation { invariant, session: Some(*id), at: *at, what });
                }
            }
        }
    }

    /// `denied-changes-nothing`: what the rule denies gets no session, whatever it presents.
    fn rules_are_obeyed(&mut self, event: &Event) {
        if !matches!(event.call, Call::RefreshOutside | Call::ValidateOutside) {
            return;
        }
        match event.answer {
            Answer::Live { .. } => self.wrong("denied-changes-nothing", event, "a rule denies this"),
            Answer::Rejected("denied") if event.call == Call::RefreshOutside => {
                self.sim.count("refresh denied");
            }
            _ => {}
        }
    }

    /// Whether the token of a call was spent at some moment before the session ended.
    fn is_spent(&self, event: &Event, ended: Time) -> bool {
        let Some(id) = event.session else { return false };
        let (token, grace) = (event.token.as_deref().unwrap_or_default(), self.sim.plan.grace());
        let now = Timestamp::from_millis(BEGIN).saturating_add(ended);
        let states = self.states(id).iter().take_while(|(at, _)| *at <= ended);
        let held = states.filter(|(_, record)| record.ended().is_none());
        held.map(|(_, record)| standing(record, token, now, grace)).any(|found| found == Standing::Spent)
    }

    /// `reuse-is-noticed`: a token that was spent all the time gets no session.
    fn reuse_is_noticed(&mut self, event: &Event) {
        let (Call::Refresh, Answer::Live { .. }, Some(id)) = (event.call, &event.answer, event.session)
        else {
            return;
        };
        let (token, grace) = (event.token.as_deref().unwrap_or_default(), self.sim.plan.grace());
        // The call may have read what changed in the millisecond in which it began.
        let earlier = Event { start: event.start.saturating_sub(ms(1)), ..event.clone() };
        let during = self.during(&earlier, id);
        let spent = |record: &&SessionRecord| standing(record, token, event.wall.0, grace) == Standing::Spent;
        if during.iter().all(spent) {
            self.wrong("reuse-is-noticed", event, "the token was spent before the call");
        }
    }
}
