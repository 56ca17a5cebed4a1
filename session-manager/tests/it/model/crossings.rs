//! The steps of a story in which two features meet, and the answers that the model expects.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{Actor, EndReason, ErrorKind, Result, UserDirectory, UserId, UserStatus, async_trait};
use session_manager::{NewSession, Rejection, ValidateError};

use super::{LAG, Story, TOUCH, name};
use crate::world::{OUTSIDE, kind, user};

/// The table of users, as the application keeps it.
#[derive(Debug, Clone, Default)]
pub(super) struct Users(Arc<Mutex<HashMap<UserId, UserStatus>>>);

#[async_trait]
impl UserDirectory for Users {
    async fn lookup(&self, user: &UserId) -> Result<Option<UserStatus>> {
        Ok(self.0.lock().get(user).copied())
    }
}

/// A user in the model, with what the node remembers of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Person {
    pub(super) version: u64,
    pub(super) is_active: bool,
    remembered: Option<(u64, u64, bool)>,
}

impl Default for Person {
    fn default() -> Self {
        Self { version: 1, is_active: true, remembered: None }
    }
}

impl Person {
    /// The node asks the directory.
    pub(super) fn ask(&mut self, now: u64) {
        self.remembered = Some((now, self.version, self.is_active));
    }

    /// Returns why the node refuses a session of the user. What it remembers only confirms.
    pub(super) fn judge(&mut self, version: u64, now: u64) -> Option<Refusal> {
        let confirms = |(asked, known, is_active)| now - asked < LAG && is_active && known == version;
        if self.remembered.is_some_and(confirms) {
            return None;
        }
        self.ask(now);
        match (self.is_active, self.version == version) {
            (false, _) => Some(Refusal::Inactive),
            (true, false) => Some(Refusal::OtherCredentials),
            (true, true) => None,
        }
    }
}

/// Why the user's standing keeps a session from being opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Inactive,
    /// The session ends.
    OtherCredentials,
}

impl Refusal {
    pub(super) fn is(self, rejection: &Rejection) -> bool {
        match (self, rejection) {
            (Self::Inactive, Rejection::UserInactive) => true,
            (Self::OtherCredentials, Rejection::Ended(ended)) => ended.reason == EndReason::CredentialChanged,
            _ => false,
        }
    }
}

impl Story {
    /// Writes the model's user into the directory.
    pub(super) fn publish(&self, number: u8) {
        let person = self.people[usize::from(number)];
        let status = UserStatus::new(person.is_active, person.version);
        self.users.0.lock().insert(user(&name(number)), status);
    }

    /// A new password, at this node or at one that this node knows nothing of.
    pub(super) fn change_password(&mut self, number: u8, is_here: bool) {
        let person = &mut self.people[usize::from(number)];
        person.version += 1;
        if is_here {
            person.remembered = None;
        }
        self.publish(number);
        if is_here {
            self.world.manager.forget_user(&user(&name(number)));
        }
    }

    pub(super) fn set_active(&mut self, number: u8, is_active: bool) {
        self.people[usize::from(number)].is_active = is_active;
        self.publish(number);
    }

    /// A sign-in whose password was checked before it was changed.
    pub(super) async fn sign_in_late(&mut self, number: u8) {
        let person = &mut self.people[usize::from(number)];
        person.ask(self.now);
        let new = NewSession::for_user(user(&name(number))).with_credential_version(person.version - 1);
        assert_eq!(kind(self.world.manager.create(new).await), ErrorKind::Invalid);
    }

    /// Exchanges a device's refresh token, or presents an old one again.
    pub(super) async fn refresh(&mut self, device: usize, is_outside: bool, is_theft: bool) {
        let Some(index) = self.index(device) else { return };
        let device = &self.devices[index];
        let token = match (&device.refresh, is_theft) {
            (Some(token), false) => token.clone(),
            // The one before may still give the same pair again.
            (Some(_), true) if device.spent.len() > 1 => device.spent[device.spent.len() - 2].clone(),
            _ => return,
        };
        let client = RequestClient::new(is_outside.then(|| OUTSIDE.parse().unwrap()), None);
        let outcome = self.world.manager.refresh(&token, &client).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = self.now;
        let device = &mut self.devices[index];
        let expected = &mut device.expected;
        let is_open = !expected.ended && !expected.is_expired(now);
        let person = &mut self.people[usize::from(expected.user)];
        let refusal = if is_open { person.judge(expected.version, now) } else { None };
        match outcome {
            Err(ValidateError::Rejected(Rejection::Ended(_))) if expected.ended => {}
            Err(ValidateError::Rejected(Rejection::Expired(_))) if !expected.ended && !is_open => {}
            Err(ValidateError::Rejected(rejection)) if refusal.is_some_and(|why| why.is(&rejection)) => {
                expected.ended = refusal == Some(Refusal::OtherCredentials);
            }
            Err(ValidateError::Rejected(Rejection::Denied { .. }))
                if is_open && refusal.is_none() && is_outside => {}
            Err(ValidateError::Rejected(Rejection::Ended(ended)))
                if is_open && refusal.is_none() && !is_outside && is_theft =>
            {
                assert_eq!(ended.reason, EndReason::RefreshReuse);
                expected.ended = true;
            }
            Ok(refreshed) if is_open && refusal.is_none() && !is_outside && !is_theft => {
                if now - expected.seen >= TOUCH {
                    expected.seen = now;
                }
                device.token = refreshed.token.expose().to_string();
                device.spent.push(token);
                device.refresh = Some(refreshed.refresh.expose().to_string());
            }
            other => panic!("the manager and the model disagree: {other:?}, {expected:?}, {refusal:?}"),
        }
    }

    /// Two requests that read the same state and change what is stored.
    pub(super) async fn count_in_two_tabs(&mut self, device: usize) {
        let Some(one) = self.open(device).await else { return };
        let Some(two) = self.open(device).await else { return };
        for tab in [&two, &one] {
            tab.update("count", |count: Option<u8>| count.unwrap_or_default().wrapping_add(1)).await.unwrap();
        }
        let count = self.of(&one).expected.data.entry("count".to_owned()).or_default();
        *count = count.wrapping_add(2);
    }

    /// Two requests that read the same state and set one key each: the same one, or two.
    pub(super) async fn save_in_two_tabs(&mut self, device: usize, keys: (u8, u8), value: u8) {
        let Some(one) = self.open(device).await else { return };
        let Some(two) = self.open(device).await else { return };
        let (key, other) = (format!("key {}", keys.0), format!("key {}", keys.1));
        two.insert(key.as_str(), &value).unwrap();
        two.save().await.unwrap();
        one.insert(other.as_str(), &value.wrapping_add(1)).unwrap();
        let saved = one.save().await;
        let data = &mut self.of(&one).expected.data;
        let has_moved = data.insert(key.clone(), value) != Some(value);
        if key == other && has_moved {
            // Also if it sets the value that its handle read: another one is stored.
            assert_eq!(kind(saved), ErrorKind::Conflict);
        } else {
            saved.unwrap();
            data.insert(other, value.wrapping_add(1));
        }
    }

    /// "Log out everywhere" while the store does not answer, and a sign-in right after it: the end
    /// is carried through, and ends what existed when it was asked for.
    pub(super) async fn revoke_all_in_a_hiccup(&mut self, number: u8, is_lost: bool) {
        let fault = match is_lost {
            true => Fault::lost_reply(ErrorKind::Timeout),
            false => Fault::error(ErrorKind::Unavailable),
        };
        self.world.faults.arm(fault.on("end").at_call(1));
        let asked = self.world.manager.revoke_all(&user(&name(number)), &Actor::System).await;
        assert!(asked.is_err_and(|error| error.is_transient()));
        let meant = |device: &&mut super::Device| device.expected.user == number && !device.expected.ended;
        let meant: Vec<_> = self.devices.iter_mut().filter(meant).map(|device| device.id).collect();
        let end = |story: &mut Self| {
            let ended = story.devices.iter_mut().filter(|device| meant.contains(&device.id));
            ended.for_each(|device| device.expected.ended = true);
        };
        if is_lost {
            end(self);
        }
        self.world.pass(1);
        self.now += 1;
        self.sign_in(number, false).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        self.world.faults.disarm();
        end(self);
    }
}
