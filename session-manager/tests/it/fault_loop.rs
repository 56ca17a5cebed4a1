//! One story, run again and again, in which the n-th call of the store fails, hangs, or is carried
//! out and its reply lost, for every n until the story gets to its end undisturbed. After each run
//! everything that was promised must hold.

mod crossings;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::rules::{RequestClient, RuleSet};
use session_core::{
    Actor, AuthMethod, ErrorKind, Event, EventKind, EventSink, ExpiryPolicy, Lifetime, OnExceed, Result,
    SessionId, UserId,
};
use session_manager::{Ensured, ExternalSession, NewSession, Paging, Session, UserLimit, ValidateError};

use self::crossings::Failure;
use crate::world::{NotFromOutside, World, user};

/// The table of users. Everybody is active, under version 1 if no other one is named.
#[derive(Debug, Clone, Default)]
struct Users(Arc<Mutex<Directory>>);

#[derive(Debug, Default)]
struct Directory {
    versions: HashMap<UserId, u64>,
    asked: u64,
    /// Which question fails, and how.
    failing: Option<(u64, Failure)>,
}

#[derive(Debug, Clone, Default)]
struct Ends(Arc<Mutex<BTreeMap<SessionId, u32>>>);

impl EventSink for Ends {
    fn emit(&self, event: &Event) {
        if let (EventKind::Ended(_), Some(id)) = (&event.kind, event.session) {
            *self.0.lock().unwrap().entry(id).or_default() += 1;
        }
    }
}

/// A run of the story, with what it was promised.
struct Run {
    world: World,
    ends: Ends,
    /// Tokens of sessions that must be live, or must be refused, whatever happens later.
    live: Vec<(&'static str, String)>,
    dead: Vec<(&'static str, String)>,
    /// Tokens of sessions that must hold a cart, and take a save.
    kept: Vec<(&'static str, String)>,
    /// Sessions under the limit whose tokens clients received.
    handed: Vec<SessionId>,
    users: Users,
}

const LIMIT: u64 = 3;

/// How old a secret is when the story's first request replaces it.
const ROTATION: Duration = Duration::from_secs(10);

impl Run {
    fn new() -> Self {
        let ends = Ends::default();
        let sink = ends.clone();
        let users = Users::default();
        let directory = users.clone();
        let limit = UserLimit::new(NonZeroU32::new(3).unwrap(), OnExceed::EndOldest);
        let lifetime = Lifetime::new(Some(Duration::from_secs(1_000)), Duration::from_secs(5_000)).unwrap();
        let expiry = ExpiryPolicy::default().with_standard(lifetime);
        let world = World::with(|builder| {
            builder
                .with_event_sink(sink)
                .with_limit(limit)
                .with_expiry(expiry)
                .with_rotation(ROTATION)
                .with_grace(ROTATION)
                .with_rules(RuleSet::none().with(NotFromOutside))
                .with_directory(directory)
                .with_directory_lag(Duration::ZERO)
        });
        let (live, dead, kept, handed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { world, ends, live, dead, kept, handed, users }
    }

    /// Awaits a step and checks what every answer must satisfy: it comes in time, and a failure is
    /// one of an outage.
    async fn step<T>(&self, name: &str, step: impl Future<Output = Result<T>>) -> Option<T> {
        let started = tokio::time::Instant::now();
        let result = step.await;
        assert!(started.elapsed() <= Duration::from_millis(2_100), "{name} took {:?}", started.elapsed());
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                assert!(error.is_transient(), "{name} answered {error} to an outage");
                None
            }
        }
    }

    async fn open(&self, name: &str, token: &str) -> Option<Session> {
        let opened = async { outage_only(self.world.validate(token).await) };
        self.step(name, opened).await
    }

    /// The story. Every step goes on with what the steps before it have left.
    async fn run_story(&mut self) {
        let manager = self.world.manager.clone();
        let ann = || NewSession::for_user(user("ann"));

        let first = self.step("create", manager.create(ann())).await;
        if let Some(first) = &first {
            let token = first.token.expose().to_string();
            // The next request is the one that rotates; the token stays good for the grace period.
            self.world.clock.advance(ROTATION);
            if let Some(session) = self.open("validate", &token).await {
                session.insert("cart", &1).unwrap();
                self.step("save", session.save()).await;
            }
            self.step("rename", manager.rename(first.session.id(), Some("desk"), &Actor::System)).await;
            self.live.push(("the first sign-in", token));
        }

        let pair = self.step("create with refresh", manager.create(ann().with_refresh(true))).await;
        if let Some(pair) = &pair {
            let token = pair.refresh.as_ref().unwrap().expose().to_string();
            let client = RequestClient::default();
            let refreshed = async { outage_only(manager.refresh(&token, &client).await) };
            if self.step("refresh", refreshed).await.is_none() {
                let again = manager.refresh(&token, &client).await;
                assert!(again.is_ok(), "a refresh that failed can be repeated: {again:?}");
            }
        }

        let third = self.step("create", manager.create(ann())).await;
        if let Some(third) = &third {
            let token = third.token.expose().to_string();
            self.step("logout", manager.logout(&third.session)).await;
            self.dead.push(("the signed-out session", token));
        }

        let external = ExternalSession::new("sid", user("bob")).unwrap();
        let ensured =
            async { outage_only(manager.ensure(external.clone(), &RequestClient::default()).await) };
        if self.step("ensure", ensured).await.is_none() {
            assert!(
                manager.ensure(external.clone(), &RequestClient::default()).await.is_ok(),
                "an ensure that failed can be repeated"
            );
        }
        assert!(matches!(
            manager.ensure(external, &RequestClient::default()).await,
            Ok(Ensured::Exists(_)) | Err(ValidateError::Unavailable(_))
        ));

        let eve = self.step("create", manager.create(NewSession::for_user(user("eve")))).await;
        if let Some(eve) = eve {
            let token = eve.token.expose().to_string();
            self.step("revoke all", manager.revoke_all(&user("eve"), &Actor::System)).await;
            self.dead.push(("the revoked session", token));
        }
        self.run_secrets().await;
        self.run_steps_and_devices().await;
        self.run_users().await;
        self.run_crossings().await;
        self.step("sweep", manager.sweep()).await;
    }

    /// Rotation, further authentication, and signing out elsewhere.
    async fn run_secrets(&mut self) {
        let manager = self.world.manager.clone();
        let rob = || NewSession::for_user(user("rob"));
        let Some(here) = self.step("create", manager.create(rob())).await else { return };
        let mut token = here.token.expose().to_string();
        for name in ["rotate", "record_authentication"] {
            let renewed = match name {
                "rotate" => self.step(name, manager.rotate(&here.session)).await,
                _ => self.step(name, manager.record_authentication(&here.session, AuthMethod::Totp)).await,
            };
            // Without an answer the secret that the client holds counts, in a while at the latest.
            if renewed.is_none() {
                self.live.push(("the session whose secret was not renewed", token));
                return;
            }
            let new = here.session.take_token().unwrap().expose().to_string();
            self.dead.push(("a replaced secret", std::mem::replace(&mut token, new)));
        }
        if let Some(there) = self.step("create", manager.create(rob())).await {
            let there_token = there.token.expose().to_string();
            if self.step("revoke others", manager.revoke_others(&here.session)).await.is_some() {
                token = here.session.take_token().unwrap().expose().to_string();
                self.dead.push(("the other device", there_token));
            } else {
                self.live.push(("the session that signs the others out", token));
                return;
            }
        }
        if let Some(third) = self.step("create", manager.create(rob())).await {
            self.step("revoke", manager.revoke(third.session.id(), &Actor::User(user("rob")))).await;
        }
        self.live.push(("the session whose secret was renewed", token));
    }

    /// Two steps of a sign-in, and a move to another device.
    async fn run_steps_and_devices(&mut self) {
        let manager = self.world.manager.clone();
        let two = NewSession::for_user(user("two")).with_auth(AuthMethod::Password);
        if let Some(pending) = self.step("begin sign-in", manager.begin_sign_in(two)).await {
            let second = NewSession::anonymous().with_auth(AuthMethod::Totp);
            let completed = self.step("complete", manager.complete_sign_in(&pending.session, second)).await;
            if let Some(completed) = completed {
                self.live.push(("the completed sign-in", completed.token.expose().to_string()));
                self.dead.push(("the pending sign-in", pending.token.expose().to_string()));
            }
        }
        let tom = NewSession::for_user(user("tom"));
        let Some(desk) = self.step("create", manager.create(tom)).await else { return };
        let Some(code) = self.step("begin transfer", manager.begin_transfer(&desk.session, false)).await
        else {
            return;
        };
        let code = code.expose();
        let redeemed = manager.redeem_transfer(&code, NewSession::anonymous());
        if let Some(phone) = self.step("redeem", redeemed).await {
            self.live.push(("the session on the phone", phone.token.expose().to_string()));
        }
        self.live.push(("the session at the desk", desk.token.expose().to_string()));
    }

    /// Lists, numbers, and what is kept about a user.
    async fn run_users(&mut self) {
        let manager = self.world.manager.clone();
        let paging = Paging::default();
        let (ann, gus) = (user("ann"), user("gus"));
        self.step("list", manager.list(&ann, paging)).await;
        self.step("history", manager.history(&ann, paging)).await;
        self.step("stats", manager.stats()).await;
        self.step("purge", manager.purge()).await;
        self.step("export", manager.export_user(&ann, Paging::default())).await;
        let gone = self.step("create", manager.create(NewSession::for_user(gus.clone()))).await;
        if let Some(gone) = gone
            && self.step("erase", manager.erase_user(&gus)).await.is_some()
        {
            self.dead.push(("the erased session", gone.token.expose().to_string()));
        }
    }

    /// The fault is over: everything promised must hold now.
    async fn check(self, fault: &str) {
        let Self { world, ends, live, dead, kept, handed, users } = self;
        world.faults.disarm();
        users.0.lock().unwrap().failing = None;
        tokio::time::sleep(Duration::from_secs(60)).await;
        // The writer of a new secret, or of a mark, has confirmed it by now, or never will.
        world.clock.advance(Duration::from_secs(40));
        for (name, token) in &live {
            let session = world.validate(token).await;
            assert!(session.is_ok(), "{fault}: {name} is gone: {session:?}");
        }
        for (name, token) in &dead {
            let outcome = world.validate(token).await;
            assert!(
                matches!(outcome, Err(ValidateError::Rejected(_))),
                "{fault}: {name} is live: {outcome:?}"
            );
        }
        for (name, token) in &kept {
            let session = world.validate(token).await;
            let session = session.unwrap_or_else(|error| panic!("{fault}: {name} is gone: {error}"));
            assert_eq!(session.get("cart").unwrap(), Some(1), "{fault}: {name} is lost");
            session.insert("more", &1).unwrap();
            assert!(session.save().await.is_ok(), "{fault}: {name} takes no save");
        }
        for name in ["ann", "lea"] {
            let page = world.manager.list(&user(name), Paging::default()).await.unwrap();
            let shown: Vec<_> = page.sessions.iter().map(|info| info.id).collect();
            assert!(shown.len() as u64 <= LIMIT, "{fault}: more sessions than the limit");
            if name == "lea" {
                Self::check_handed(fault, &shown, &handed);
            }
        }
        tokio::time::resume();
        world.manager.shutdown().await;
        let stats = world.manager.stats().await.unwrap();
        let ends = ends.0.lock().unwrap();
        assert!(
            ends.values().all(|count| *count == 1),
            "{fault}: an end was reported more than once: {ends:?}"
        );
        assert_eq!(ends.len() as u64, stats.ended.values().sum::<u64>(), "{fault}: an end was not reported");
    }
}

/// Unwraps an answer that only an outage may turn into an error.
#[track_caller]
fn outage_only<T: std::fmt::Debug>(outcome: Result<T, ValidateError>) -> Result<T> {
    match outcome {
        Ok(value) => Ok(value),
        Err(ValidateError::Unavailable(error)) => Err(error),
        Err(rejection) => panic!("an outage was reported as {rejection:?}"),
    }
}

/// Runs the story with the n-th call going wrong in some way. Returns whether the story was long
/// enough for it.
fn run(fault: &str, arm: impl FnOnce(&Run), has_failed: impl FnOnce(&Run) -> bool) -> bool {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut run = Run::new();
        arm(&run);
        run.run_story().await;
        let has_failed = has_failed(&run);
        run.check(fault).await;
        has_failed
    })
}

fn every_call(kind: fn() -> Fault, name: &str) {
    let run_with = |n: &u64| {
        let arm = |run: &Run| run.world.faults.arm(kind().at_call(*n));
        run(&format!("{name} in call {n}"), arm, |run| run.world.faults.injected() > 0)
    };
    let points = (1..).take_while(run_with).count();
    println!("fault points: {points} ({name})");
    assert!(points >= 65, "the story makes more calls than that: {points}");
}

fn every_question(failure: Failure) {
    let run_with = |n: &u64| {
        let arm = |run: &Run| run.users.0.lock().unwrap().failing = Some((*n, failure));
        let has_failed = |run: &Run| run.users.0.lock().unwrap().asked >= *n;
        run(&format!("{failure:?} of question {n} to the directory"), arm, has_failed)
    };
    let points = (1..).take_while(run_with).count();
    println!("fault points: {points} ({failure:?} of the directory)");
    assert!(points >= 20, "the story asks the directory more often than that: {points}");
}

#[test]
fn every_guarantee_holds_when_a_call_fails() {
    every_call(|| Fault::error(ErrorKind::Unavailable), "an error");
}

#[test]
fn every_guarantee_holds_when_a_call_hangs() {
    every_call(Fault::hang, "a hang");
}

#[test]
fn every_guarantee_holds_when_a_reply_is_lost() {
    every_call(|| Fault::lost_reply(ErrorKind::Timeout), "a lost reply");
}

#[test]
fn every_guarantee_holds_when_the_directory_fails() {
    every_question(Failure::Error);
}

#[test]
fn every_guarantee_holds_when_the_directory_hangs() {
    every_question(Failure::Hang);
}
