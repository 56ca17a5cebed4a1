//! Users whose passwords change, who are disabled, deleted and registered again; and several nodes
//! that remember the directory's answers for a while.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use session_core::{EndReason, Result, SessionRecord, UserDirectory, UserId, UserStatus, async_trait};
use session_manager::{NewSession, SessionManagerBuilder};

use crate::acts::user;
use crate::checker::Checker;
use crate::history::{Answer, Call, Detail, Event, Violation};
use crate::net::{Process, Server};
use crate::workload::{Ask, Client};
use crate::world::{Sim, Time, ms};

/// The directory's answers about a user, each with the time from which it holds.
type Statuses = Vec<(Time, Option<UserStatus>)>;

/// A process that was asked to forget what it remembers of a user.
#[derive(Debug, Clone)]
struct Forgotten {
    process: (usize, u32),
    user: UserId,
    at: Time,
}

/// The table of users, which all nodes ask over the network.
#[derive(Debug)]
pub(crate) struct Users {
    pub(crate) server: Arc<Server>,
    statuses: Mutex<BTreeMap<UserId, Statuses>>,
    forgotten: Mutex<Vec<Forgotten>>,
}

impl Users {
    pub(crate) fn new(nodes: usize) -> Self {
        let first = vec![(Time::ZERO, Some(UserStatus::new(true, 1)))];
        let statuses = (0..3).map(|number| (user(number), first.clone())).collect();
        let (statuses, forgotten) = (Mutex::new(statuses), Mutex::default());
        Self { server: Server::new("directory", nodes), statuses, forgotten }
    }

    fn status(&self, user: &UserId) -> Option<UserStatus> {
        self.statuses.lock().get(user)?.last()?.1
    }

    fn set(&self, user: UserId, status: Option<UserStatus>, now: Time) {
        self.statuses.lock().entry(user).or_default().push((now, status));
    }

    /// Returns an answer that the directory gave at some moment of a time.
    fn between(&self, user: &UserId, from: Time, until: Time) -> Vec<Option<UserStatus>> {
        let statuses = self.statuses.lock();
        let Some(statuses) = statuses.get(user) else { return vec![None] };
        let begun = statuses.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
        let during = statuses[begun..].iter().take_while(|(at, _)| *at <= until);
        during.map(|(_, status)| *status).collect()
    }
}

/// The way from one process to the directory.
struct DirectoryLink {
    sim: Arc<Sim>,
    process: Arc<Process>,
}

impl fmt::Debug for DirectoryLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryLink").field("process", &self.process).finish_non_exhaustive()
    }
}

#[async_trait]
impl UserDirectory for DirectoryLink {
    async fn lookup(&self, user: &UserId) -> Result<Option<UserStatus>> {
        let (sim, user) = (Arc::clone(&self.sim), user.clone());
        let look = move |_| Ok(sim.users.status(&user));
        self.sim.users.server.call(&self.sim, &self.process, "lookup", look).await
    }
}

pub(crate) fn configure(
    builder: SessionManagerBuilder,
    sim: &Arc<Sim>,
    process: &Arc<Process>,
) -> SessionManagerBuilder {
    let Some(lag) = sim.plan.directory_lag else { return builder };
    let link = DirectoryLink { sim: Arc::clone(sim), process: Arc::clone(process) };
    builder.with_directory(link).with_directory_lag(lag)
}

pub(crate) async fn step(client: &Client) {
    let (number, someone) = client.sim.draw(|rng| (rng.u32(..100), rng.usize(..3)));
    match number {
        0..=7 => sign_in(client, someone % 2).await,
        8..=14 => change_password(client, someone).await,
        15..=19 => move_user(client, someone),
        20..=24 => client.ensure().await,
        25 => client.sweep().await,
        _ => {
            let Some(known) = client.hot() else { return sign_in(client, someone % 2).await };
            match number {
                26..=31 => client.save(&known).await,
                32..=34 => client.revoke(&known).await,
                35..=44 => drop(client.open(Call::Authoritative, &known).await),
                _ => drop(client.open(Call::Validate, &known).await),
            }
        }
    }
}

/// A user enters a password. It is checked a while before the session begins, and may change
/// meanwhile.
async fn sign_in(client: &Client, number: usize) {
    let sim = &client.sim;
    let checked = sim.users.status(&user(number)).map(|status| status.credential_version);
    sim.pass(sim.up_to(ms(60))).await;
    // Some applications do not name the credentials that they checked.
    begin(client, number, checked.filter(|_| sim.chance(80))).await;
}

async fn begin(client: &Client, number: usize, version: Option<u64>) {
    let mut new = NewSession::for_user(user(number));
    if let Some(version) = version {
        new = new.with_credential_version(version);
    }
    client.begin(new, number, Ask::new(Call::Create, Detail::Version(number, version))).await;
}

/// Changes a password at this node, which forgets the user, and signs in with the new one.
async fn change_password(client: &Client, number: usize) {
    let sim = &client.sim;
    let Some(status) = sim.users.status(&user(number)) else { return };
    let version = status.credential_version + 1;
    sim.users.set(user(number), Some(UserStatus::new(status.active, version)), sim.now());
    sim.count("password changed");
    let running = client.node.running();
    running.manager.forget_user(&user(number));
    let process = (client.node.number, running.life);
    sim.users.forgotten.lock().push(Forgotten { process, user: user(number), at: sim.now() });
    if number < 2 {
        begin(client, number, Some(version)).await;
    }
}

/// An administrator disables, enables, deletes or registers a user, and notifies no node.
fn move_user(client: &Client, number: usize) {
    let sim = &client.sim;
    let next = match sim.users.status(&user(number)) {
        // The next user of the name has other credentials.
        None => Some(UserStatus::new(true, 1_000 + u64::from(sim.next_key()))),
        Some(status) if status.active && sim.chance(40) => None,
        Some(status) => Some(UserStatus::new(!status.active, status.credential_version)),
    };
    sim.count(if next.is_none() { "user deleted" } else { "user disabled or enabled" });
    sim.users.set(user(number), next, sim.now());
}

fn is_good(status: Option<UserStatus>, version: Option<u64>) -> bool {
    status.is_some_and(|status| {
        status.active && version.is_none_or(|version| version == status.credential_version)
    })
}

fn has_other_credentials(status: Option<UserStatus>, version: Option<u64>) -> bool {
    status.is_some_and(|status| status.active) && !is_good(status, version)
}

impl Checker<'_> {
    /// Nodes follow the directory within the lag, and refuse or end nothing without its fresh
    /// answer.
    pub(crate) fn nodes_follow_the_directory(&mut self) {
        let Some(lag) = self.sim.plan.directory_lag else { return };
        for event in self.events {
            self.sign_in_asks_afresh(event);
            let Some(record) = event.session.and_then(|id| self.states(id).first()).map(|state| &state.1)
            else {
                continue;
            };
            match event.answer {
                Answer::Live { .. } => self.is_known_good(event, record, lag),
                Answer::Rejected(why) => self.is_refused_afresh(event, record, why),
                _ => {}
            }
        }
        self.ends_have_a_cause();
    }

    /// `directory-lag`: a session opens only if its user was good at some moment of the lag. At a
    /// node that forgot the user, only moments after that count.
    fn is_known_good(&mut self, event: &Event, record: &SessionRecord, lag: Time) {
        let users = &self.sim.users;
        let Some(user) = &record.user_id else { return };
        let forgot = users.forgotten.lock().iter().rev().find_map(|forgotten| {
            let is_it = forgotten.process == (event.node, event.life) && forgotten.user == *user;
            (is_it && forgotten.at < event.start).then_some(forgotten.at)
        });
        // Within the millisecond of a change the question may have come before it.
        let earliest = event.start.saturating_sub(lag + ms(1)).max(forgot.unwrap_or_default());
        let seen = users.between(user, earliest, event.end);
        let version = record.credential_version;
        if !seen.iter().any(|status| is_good(*status, version)) {
            self.wrong(
                "directory-lag",
                event,
                format!("since {} ms: {seen:?}, {version:?}", earliest.as_millis()),
            );
        }
        if !is_good(users.between(user, event.end, event.end)[0], version) {
            self.sim.count("answer within the lag of the directory");
        }
    }

    /// `refusals-are-fresh`: what a node remembers may only confirm.
    fn is_refused_afresh(&mut self, event: &Event, record: &SessionRecord, why: &'static str) {
        let Some(user) = &record.user_id else { return };
        let seen = self.sim.users.between(user, event.start.saturating_sub(ms(1)), event.end);
        let version = record.credential_version;
        let ended = event.session.and_then(|id| self.ended_at(id)).is_some_and(|at| at <= event.end);
        let legal = match why {
            "inactive" => seen.iter().any(|status| !is_good(*status, version)),
            "credentials changed" => {
                ended || seen.iter().any(|status| has_other_credentials(*status, version))
            }
            "user gone" => ended || seen.contains(&None),
            _ => return,
        };
        self.sim.count(why);
        if !legal {
            self.wrong("refusals-are-fresh", event, format!("meanwhile {seen:?}, {version:?}"));
        }
        let lives = self.sim.nodes.lock()[event.node].running().life == event.life;
        let is_final = why != "inactive" && lives;
        let is_ended = self.states(record.id).last().is_some_and(|(_, record)| record.ended().is_some());
        if is_final && !is_ended {
            self.wrong("ends-are-carried-through", event, "the store never learnt of the end");
        }
    }

    /// `sign-in-asks-afresh`: a sign-in succeeds, or is refused, for what the directory answered
    /// while it was under way.
    fn sign_in_asks_afresh(&mut self, event: &Event) {
        let Detail::Version(number, version) = event.detail else { return };
        let seen = self.sim.users.between(&user(number), event.start.saturating_sub(ms(1)), event.end);
        let stored = event.session.and_then(|id| self.states(id).first());
        let legal = match &event.answer {
            Answer::Done => {
                let given = stored.and_then(|(_, record)| record.credential_version);
                given.is_some()
                    && version.is_none_or(|version| given == Some(version))
                    && seen.iter().any(|status| is_good(*status, given))
            }
            Answer::Failed(session_core::ErrorKind::Invalid) => {
                self.sim.count("sign-in refused by the directory");
                seen.iter().any(|status| !is_good(*status, version))
            }
            _ => true,
        };
        if !legal {
            self.wrong("sign-in-asks-afresh", event, format!("meanwhile {seen:?}"));
        }
    }

    /// `refusals-are-fresh`, in the store: a session ended for what the directory answered after
    /// its sign-in.
    fn ends_have_a_cause(&mut self) {
        // An end of all sessions of a user reaches what a node created whose clock may be that much
        // ahead.
        let reach = self.sim.plan.skew + self.sim.plan.deadline * 2;
        for (id, states) in self.truth {
            let (Some((created, record)), Some((at, last))) = (states.first(), states.last()) else {
                continue;
            };
            let (Some(ended), Some(user)) = (last.ended(), &record.user_id) else { continue };
            let version = record.credential_version;
            let between = |from: Time| self.sim.users.between(user, from, *at);
            let legal = match ended.reason {
                EndReason::CredentialChanged => {
                    between(*created).iter().any(|status| has_other_credentials(*status, version))
                }
                EndReason::UserInactive => between(created.saturating_sub(reach)).contains(&None),
                _ => continue,
            };
            if !legal {
                let what =
                    format!("{} under {version:?}, and the directory answered otherwise", ended.reason);
                let (invariant, session) = ("refusals-are-fresh", Some(*id));
                self.found.push(Violation { invariant, session, at: *at, what });
            }
        }
    }

    /// Whether a sign-in may be refused as invalid. The rule about sign-ins judges the answers
    /// of the directory.
    pub(crate) fn may_be_refused(&self, event: &Event) -> bool {
        matches!(event.detail, Detail::Version(..))
    }
}
