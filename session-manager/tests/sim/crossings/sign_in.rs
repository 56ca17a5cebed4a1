//! Sign-ins that replace a session while other clients save into it.

use session_core::{ErrorKind, SessionRecord};
use session_manager::NewSession;

use crate::acts::user;
use crate::checker::Checker;
use crate::crossings::saves::{key, keys};
use crate::history::{Answer, Call, Detail, Event};
use crate::workload::{Ask, Client};
use crate::world::{Known, Time};

pub(crate) async fn step(client: &Client) {
    let number = client.sim.draw(|rng| rng.u32(..100));
    let Some(known) = client.hot() else { return visit(client).await };
    match number {
        0..=11 => visit(client).await,
        12..=24 => sign_in(client, &known).await,
        25..=64 => client.save(&known).await,
        65..=66 => client.revoke(&known).await,
        67 => client.logout(&known).await,
        _ => drop(client.open(Call::Validate, &known).await),
    }
}

/// Begins an anonymous session.
async fn visit(client: &Client) {
    client.begin(NewSession::anonymous(), 0, Ask::new(Call::Create, Detail::None)).await;
}

/// Signs in from a session, with a change that the request has not saved.
async fn sign_in(client: &Client, known: &Known) {
    let Some(session) = client.open(Call::Validate, known).await else { return };
    if client.sim.chance(50) {
        session.insert(key(client.sim.next_key()), &true).expect("a value is JSON");
    }
    let new = NewSession::for_user(user(known.user)).replacing(&session);
    let ask = Ask::new(Call::SignIn, Detail::Replaces(known.id));
    client.begin(new, known.user, ask).await;
}

fn has_mark(record: &SessionRecord) -> bool {
    const MARK: &[u8] = b"session-kit.superseding";
    record.data.windows(MARK.len()).any(|part| part == MARK)
}

impl Checker<'_> {
    /// Whether a call was refused because a sign-in takes the session's place: the store held the
    /// mark while the call was under way.
    pub(crate) fn is_superseded(&self, event: &Event) -> bool {
        let id = match (event.call, event.detail) {
            (Call::SignIn, Detail::Replaces(id)) => Some(id),
            (Call::Save, _) => event.session,
            _ => None,
        };
        let Some(id) = id else { return false };
        if self.ended_at(id).is_some_and(|at| at <= event.end) {
            return true;
        }
        let is_marked = self.during(event, id).into_iter().any(has_mark);
        if is_marked && event.call == Call::Save {
            self.sim.count("save refused beside a sign-in");
        }
        is_marked
    }

    /// For how long a session takes no save after a sign-in began to replace it.
    fn mark_lasts(&self) -> Time {
        self.sim.plan.deadline * 2
    }

    /// `no-lost-update`, across a sign-in: what was saved and acknowledged is carried over, or the
    /// save is refused.
    pub(crate) fn sign_ins_carry_over(&mut self) {
        let done = |event: &&Event| event.call == Call::SignIn && event.answer == Answer::Done;
        let nodes = self.sim.nodes.lock().clone();
        let sign_ins: Vec<_> = self.events.iter().filter(done).collect();
        for sign_in in &sign_ins {
            let (Detail::Replaces(old), Some(new)) = (sign_in.detail, sign_in.session) else { continue };
            let Some((created, record)) = self.states(new).first().cloned() else { continue };
            // What ended first is gone, and no obstacle.
            if self.ended_at(old).is_some_and(|at| at <= created) {
                self.sim.count("sign-in from a session that ended");
                continue;
            }
            let lives = nodes[sign_in.node].running().life == sign_in.life;
            if lives && self.ended_at(old).is_none() {
                self.wrong("ends-are-carried-through", sign_in, "the replaced session goes on");
            }
            let carried = keys(&record).unwrap_or_default();
            for save in self.events.iter().filter(|event| event.session == Some(old)) {
                let (Call::Save, Answer::Done, Detail::Saves(own)) = (save.call, &save.answer, save.detail)
                else {
                    continue;
                };
                let is_beside = save.end >= sign_in.start;
                // The sign-in is over, and its mark may be, too.
                let is_later = save.start > sign_in.end && save.end >= sign_in.start + self.mark_lasts();
                match carried.contains(&own) {
                    true if is_beside => self.sim.count("save carried over beside a sign-in"),
                    true => self.sim.count("save carried over"),
                    false if is_later => self.sim.count("save after the mark of a sign-in"),
                    false => self.wrong("no-lost-update", save, format!("and not carried over by {sign_in}")),
                }
            }
            let twin = sign_ins.iter().find(|twin| {
                let keys =
                    twin.session.and_then(|id| self.states(id).first()).and_then(|state| keys(&state.1));
                twin.start > sign_in.start
                    && twin.detail == sign_in.detail
                    && twin.end < sign_in.start + self.mark_lasts()
                    && keys.is_some_and(|keys| keys.intersection(&carried).next().is_some())
            });
            if let Some(twin) = twin {
                self.wrong("one-successor", twin, format!("as well as {sign_in}"));
            }
        }
        let failed = |event: &&Event| {
            event.call == Call::SignIn
                && matches!(event.answer, Answer::Failed(kind) if kind != ErrorKind::Ended)
        };
        self.sim.add("sign-in that failed", self.events.iter().filter(failed).count() as u64);
    }
}
