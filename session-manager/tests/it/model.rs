//! Random stories against a model that fits on a page: whatever several users, devices, a clock and an administrator do, the manager
//! answers as the model does.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use session_core::{Actor, ExpiryPolicy, Lifetime, OnExceed, SessionId};
use session_manager::{Created, NewSession, Paging, Rejection, Session, UserLimit, ValidateError};

use crate::world::{World, user};

const IDLE: u64 = 100;
const ABSOLUTE: u64 = 400;
const LIMIT: usize = 3;
/// A tenth of the idle time: a use is written when the last one known is at least that old.
const TOUCH: u64 = IDLE / 10;

/// How many random stories are told.
const STORIES: u32 = 256;

static STEPS: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Clone)]
enum Step {
    SignIn {
        user: u8,
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
        4 => (0..2_u8).prop_map(|user| Step::SignIn { user }),
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

/// A browser: what it holds, and what the model says about it.
struct Device {
    id: SessionId,
    token: String,
    expected: Expected,
}

struct Story {
    world: World,
    now: u64,
    devices: Vec<Device>,
}

fn name(user: u8) -> String {
    format!("user {user}")
}

impl Story {
    fn new() -> Self {
        let lifetime = Lifetime::new(Some(Duration::from_secs(IDLE)), Duration::from_secs(ABSOLUTE)).unwrap();
        let limit = UserLimit::new(NonZeroU32::new(3).unwrap(), OnExceed::EndOldest);
        let expiry = ExpiryPolicy::default().with_standard(lifetime);
        let world = World::with(|builder| builder.with_expiry(expiry).with_limit(limit));
        Self { world, now: 0, devices: Vec::new() }
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
            Step::SignIn { user } => self.sign_in(user).await,
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

    async fn sign_in(&mut self, number: u8) {
        let Created { session, token, ended, .. } =
            self.world.manager.create(NewSession::for_user(user(&name(number)))).await.unwrap();
        let live = self.live_of(number);
        let surplus = (live.len() + 1).saturating_sub(LIMIT);
        assert_eq!(ended.len(), surplus);
        // Which of several sessions of one second is the oldest is up to their ids.
        for info in &ended {
            let oldest = live.iter().map(|index| self.devices[*index].expected.created).min();
            let evicted = self.devices.iter_mut().find(|device| device.id == info.id).unwrap();
            assert_eq!(Some(evicted.expected.created), oldest);
            evicted.expected.ended = true;
        }
        let expected =
            Expected { user: number, created: self.now, seen: self.now, ended: false, data: BTreeMap::new() };
        self.devices.push(Device { id: session.id(), token: token.expose().to_string(), expected });
    }

    /// Opens a device's session as both the manager and the model see it.
    async fn open(&mut self, device: usize) -> Option<Session> {
        if self.devices.is_empty() {
            return None;
        }
        let index = device % self.devices.len();
        let now = self.now;
        let device = &mut self.devices[index];
        let opened = self.world.validate(&device.token).await;
        // Longer than the flush interval: a use is written before the next step.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let expected = &mut device.expected;
        match (&opened, expected.ended, expected.is_expired(now)) {
            (Err(ValidateError::Rejected(Rejection::Ended(_))), true, _) => None,
            (Err(ValidateError::Rejected(Rejection::Expired(_))), false, true) => None,
            (Ok(_), false, false) => {
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
        let old = std::mem::replace(&mut self.of(session).token, token);
        assert_ne!(old, self.of(session).token);
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

    /// What a user's page shows is what the model says.
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
    let outcome = runner.run(&prop::collection::vec(step(), 1..60), |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut story = Story::new();
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
