//! Random stories against a model that fits on a page: whatever several users, devices, a clock and
//! an administrator do, the manager answers as the model does.

mod crossings;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use session_core::rules::RuleSet;
use session_core::{Actor, ErrorKind, ExpiryPolicy, Lifetime, OnExceed, SessionId};
use session_manager::{Created, NewSession, Paging, Rejection, Session, UserLimit, ValidateError};

use self::crossings::{Person, Refusal, Users};
use crate::world::{NotFromOutside, World, kind, user};

const IDLE: u64 = 100;
const ABSOLUTE: u64 = 400;
const LIMIT: usize = 3;
/// A tenth of the idle time: a use is written when the last one known is at least that old.
const TOUCH: u64 = IDLE / 10;

/// How long the node remembers what the directory answered.
const LAG: u64 = 20;

/// How many random stories run.
const STORIES: u32 = 256;

static STEPS: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Clone)]
enum Step {
    SignIn {
        user: u8,
        refresh: bool,
    },
    /// With a password that was changed meanwhile.
    SignInLate {
        user: u8,
    },
    ChangePassword {
        user: u8,
        /// Whether this node is notified (`forget_user`).
        here: bool,
    },
    SetActive {
        user: u8,
        active: bool,
    },
    Refresh {
        device: usize,
        outside: bool,
    },
    /// A copy of an old refresh token is presented.
    Steal {
        device: usize,
    },
    CountInTwoTabs {
        device: usize,
    },
    SaveInTwoTabs {
        device: usize,
        keys: (u8, u8),
        value: u8,
    },
    RevokeAllInHiccup {
        user: u8,
        lost: bool,
    },
    Use {
        device: usize,
    },
    /// A request that read the session now and saves it after the next steps.
    Save {
        device: usize,
        key: u8,
        value: u8,
    },
    Rotate {
        device: usize,
    },
    Logout {
        device: usize,
    },
    RevokeOthers {
        device: usize,
    },
    RevokeAll {
        user: u8,
    },
    Pass {
        seconds: u64,
    },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let device = 0..6_usize;
    prop_oneof![
        6 => (0..2_u8, any::<bool>()).prop_map(|(user, refresh)| Step::SignIn { user, refresh }),
        1 => (0..2_u8).prop_map(|user| Step::SignInLate { user }),
        1 => (0..2_u8, any::<bool>()).prop_map(|(user, here)| Step::ChangePassword { user, here }),
        2 => (0..2_u8, prop::bool::weighted(0.7)).prop_map(|(user, active)| Step::SetActive { user, active }),
        5 => (device.clone(), prop::bool::weighted(0.3)).prop_map(|(device, outside)| Step::Refresh { device, outside }),
        1 => device.clone().prop_map(|device| Step::Steal { device }),
        1 => device.clone().prop_map(|device| Step::CountInTwoTabs { device }),
        2 => (device.clone(), (0..3_u8, 0..3_u8), any::<u8>())
            .prop_map(|(device, keys, value)| Step::SaveInTwoTabs { device, keys, value }),
        1 => (0..2_u8, any::<bool>()).prop_map(|(user, lost)| Step::RevokeAllInHiccup { user, lost }),
        6 => device.clone().prop_map(|device| Step::Use { device }),
        3 => (device.clone(), 0..3_u8, any::<u8>()).prop_map(|(device, key, value)| Step::Save { device, key, value }),
        1 => device.clone().prop_map(|device| Step::Rotate { device }),
        1 => device.clone().prop_map(|device| Step::Logout { device }),
        1 => device.prop_map(|device| Step::RevokeOthers { device }),
        1 => (0..2_u8).prop_map(|user| Step::RevokeAll { user }),
        5 => (1..120_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Sweep),
    ]
}

/// The model: what a session is, in the words of the design.
#[derive(Debug, Clone)]
struct Expected {
    user: u8,
    created: u64,
    seen: u64,
    ended: bool,
    /// Under which credentials the session was signed in.
    version: u64,
    data: BTreeMap<String, u8>,
}

impl Expected {
    fn is_expired(&self, now: u64) -> bool {
        now >= (self.seen + IDLE).min(self.created + ABSOLUTE)
    }

    fn is_live(&self, now: u64) -> bool {
        !self.ended && !self.is_expired(now)
    }
}

/// A browser: what it holds, and what the model expects of it.
struct Device {
    id: SessionId,
    token: String,
    refresh: Option<String>,
    /// Refresh tokens that it had before, the latest last.
    spent: Vec<String>,
    expected: Expected,
}

struct Story {
    world: World,
    now: u64,
    devices: Vec<Device>,
    exceed: OnExceed,
    users: Users,
    people: [Person; 2],
}

fn name(user: u8) -> String {
    format!("user {user}")
}

impl Story {
    fn new(exceed: OnExceed) -> Self {
        let users = Users::default();
        let directory = users.clone();
        let lifetime = Lifetime::new(Some(Duration::from_secs(IDLE)), Duration::from_secs(ABSOLUTE)).unwrap();
        let limit = UserLimit::new(NonZeroU32::new(3).unwrap(), exceed);
        let expiry = ExpiryPolicy::default().with_standard(lifetime);
        let world = World::with(|builder| {
            let lag = Duration::from_secs(LAG);
            let builder = builder.with_directory(directory).with_directory_lag(lag);
            builder.with_expiry(expiry).with_limit(limit).with_rules(RuleSet::none().with(NotFromOutside))
        });
        let people = [Person::default(); 2];
        let story = Self { world, now: 0, devices: Vec::new(), exceed, users, people };
        (0..2).for_each(|number| story.publish(number));
        story
    }

    fn index(&self, device: usize) -> Option<usize> {
        device.checked_rem(self.devices.len())
    }

    fn live_of(&self, user: u8) -> Vec<usize> {
        let live = |index: &usize| {
            let expected = &self.devices[*index].expected;
            expected.user == user && expected.is_live(self.now)
        };
        (0..self.devices.len()).filter(live).collect()
    }

    async fn run(&mut self, step: &Step) {
        STEPS.fetch_add(1, Ordering::Relaxed);
        match *step {
            Step::SignIn { user, refresh } => self.sign_in(user, refresh).await,
            Step::SignInLate { user } => self.sign_in_late(user).await,
            Step::ChangePassword { user, here } => self.change_password(user, here),
            Step::SetActive { user, active } => self.set_active(user, active),
            Step::Refresh { device, outside } => self.refresh(device, outside, false).await,
            Step::Steal { device } => self.refresh(device, false, true).await,
            Step::CountInTwoTabs { device } => self.count_in_two_tabs(device).await,
            Step::SaveInTwoTabs { device, keys, value } => self.save_in_two_tabs(device, keys, value).await,
            Step::RevokeAllInHiccup { user, lost } => self.revoke_all_in_a_hiccup(user, lost).await,
            Step::Use { device } => drop(self.open(device).await),
            Step::Save { device, key, value } => self.save(device, key, value).await,
            Step::Rotate { device } => self.rotate(device).await,
            Step::Logout { device } => self.logout(device).await,
            Step::RevokeOthers { device } => self.revoke_others(device).await,
            Step::RevokeAll { user: number } => {
                let ended =
                    self.world.manager.revoke_all(&user(&name(number)), &Actor::System).await.unwrap();
                let open =
                    self.devices.iter_mut().filter(|it| it.expected.user == number && !it.expected.ended);
                assert_eq!(ended.len(), open.map(|device| device.expected.ended = true).count());
            }
            Step::Pass { seconds } => {
                self.world.pass(seconds);
                self.now += seconds;
            }
            Step::Sweep => {
                let report = self.world.manager.sweep().await.unwrap();
                let now = self.now;
                let expired =
                    self.devices.iter_mut().filter(|it| !it.expected.ended && it.expected.is_expired(now));
                assert_eq!(report.ended, expired.map(|device| device.expected.ended = true).count() as u64);
            }
        }
    }

    async fn sign_in(&mut self, number: u8, refresh: bool) {
        let new = NewSession::for_user(user(&name(number))).with_refresh(refresh);
        let outcome = self.world.manager.create(new).await;
        let live = self.live_of(number);
        let person = &mut self.people[usize::from(number)];
        person.ask(self.now);
        if !person.is_active {
            return assert_eq!(kind(outcome), ErrorKind::Invalid);
        }
        let version = person.version;
        if self.exceed == OnExceed::Refuse && live.len() >= LIMIT {
            return assert_eq!(kind(outcome), ErrorKind::LimitExceeded);
        }
        let Created { session, token, ended, refresh, .. } = outcome.unwrap();
        let surplus = (live.len() + 1).saturating_sub(LIMIT);
        assert_eq!(ended.len(), surplus);
        // Which of several sessions of one second goes is up to their ids.
        let exceed = self.exceed;
        let rank = |expected: &Expected| match exceed {
            OnExceed::EndLeastRecentlySeen => expected.seen,
            _ => expected.created,
        };
        for info in &ended {
            let first = live.iter().map(|index| rank(&self.devices[*index].expected)).min();
            let evicted = self.devices.iter_mut().find(|device| device.id == info.id).unwrap();
            assert_eq!(Some(rank(&evicted.expected)), first);
            evicted.expected.ended = true;
        }
        let (created, seen, data) = (self.now, self.now, BTreeMap::new());
        let expected = Expected { user: number, created, seen, ended: false, version, data };
        let (id, token) = (session.id(), token.expose().to_string());
        let refresh = refresh.map(|refresh| refresh.expose().to_string());
        self.devices.push(Device { id, token, refresh, spent: Vec::new(), expected });
    }

    /// Opens a device's session as both the manager and the model see it.
    async fn open(&mut self, device: usize) -> Option<Session> {
        let index = self.index(device)?;
        let now = self.now;
        let device = &mut self.devices[index];
        let opened = self.world.validate(&device.token).await;
        // Longer than the flush interval: a use is written before the next step.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let expected = &mut device.expected;
        let is_open = !expected.ended && !expected.is_expired(now);
        let person = &mut self.people[usize::from(expected.user)];
        let refusal = if is_open { person.judge(expected.version, now) } else { None };
        match (&opened, expected.ended, expected.is_expired(now)) {
            (Err(ValidateError::Rejected(Rejection::Ended(_))), true, _) => None,
            (Err(ValidateError::Rejected(Rejection::Expired(_))), false, true) => None,
            (Err(ValidateError::Rejected(rejection)), false, false)
                if refusal.is_some_and(|why| why.is(rejection)) =>
            {
                expected.ended = refusal == Some(Refusal::OtherCredentials);
                None
            }
            (Ok(_), false, false) if refusal.is_none() => {
                if now - expected.seen >= TOUCH {
                    expected.seen = now;
                }
                let session = opened.unwrap();
                for (key, value) in &expected.data {
                    assert_eq!(session.get::<u8>(key).unwrap(), Some(*value));
                }
                Some(session)
            }
            other => panic!("the manager and the model disagree: {other:?}"),
        }
    }

    async fn save(&mut self, device: usize, key: u8, value: u8) {
        let Some(session) = self.open(device).await else { return };
        let key = format!("key {key}");
        session.insert(key.as_str(), &value).unwrap();
        session.save().await.unwrap();
        self.of(&session).expected.data.insert(key, value);
    }

    async fn rotate(&mut self, device: usize) {
        let Some(session) = self.open(device).await else { return };
        self.world.manager.rotate(&session).await.unwrap();
        self.take_token(&session);
    }

    fn take_token(&mut self, session: &Session) {
        let token = session.take_token().unwrap().expose().to_string();
        let refresh = session.take_refresh_token().map(|refresh| refresh.expose().to_string());
        let device = self.of(session);
        let old = std::mem::replace(&mut device.token, token);
        assert_ne!(old, device.token);
        assert_eq!(device.refresh.is_some(), refresh.is_some(), "both halves of a pair are replaced");
        device.spent.extend(std::mem::replace(&mut device.refresh, refresh));
    }

    async fn logout(&mut self, device: usize) {
        let Some(session) = self.open(device).await else { return };
        self.world.manager.logout(&session).await.unwrap();
        self.of(&session).expected.ended = true;
    }

    async fn revoke_others(&mut self, device: usize) {
        let Some(session) = self.open(device).await else { return };
        let ended = self.world.manager.revoke_others(&session).await.unwrap();
        let number = self.of(&session).expected.user;
        let others = self.devices.iter_mut().filter(|device| {
            device.expected.user == number && device.id != session.id() && !device.expected.ended
        });
        assert_eq!(ended.len(), others.map(|device| device.expected.ended = true).count());
        self.take_token(&session);
    }

    fn of(&mut self, session: &Session) -> &mut Device {
        self.devices.iter_mut().find(|device| device.id == session.id()).unwrap()
    }

    /// A user's page shows what the model expects.
    async fn check_lists(&self) {
        for number in 0..2 {
            let page = self.world.manager.list(&user(&name(number)), Paging::default()).await.unwrap();
            let mut shown: Vec<_> = page.sessions.iter().map(|info| info.id).collect();
            let mut expected: Vec<_> =
                self.live_of(number).iter().map(|index| self.devices[*index].id).collect();
            shown.sort_unstable();
            expected.sort_unstable();
            assert_eq!(shown, expected);
            assert!(shown.len() <= LIMIT);
        }
    }
}

#[test]
fn the_manager_answers_as_the_model_does() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(STORIES));
    let exceed = [OnExceed::EndOldest, OnExceed::EndLeastRecentlySeen, OnExceed::Refuse];
    let stories = (prop::sample::select(exceed.to_vec()), prop::collection::vec(step(), 1..80));
    let outcome = runner.run(&stories, |(exceed, steps)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut story = Story::new(exceed);
            for step in &steps {
                story.run(step).await;
                story.check_lists().await;
            }
        });
        Ok(())
    });
    outcome.unwrap();
    println!("model steps: {} in {STORIES} stories", STEPS.load(Ordering::Relaxed));
}
