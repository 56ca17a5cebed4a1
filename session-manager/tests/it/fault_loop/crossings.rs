//! The part of the story in which two features meet.

use std::collections::HashMap;
use std::time::Duration;

use session_core::rules::RequestClient;
use session_core::{Error, ErrorKind, Result, SessionId, UserDirectory, UserId, UserStatus, async_trait};
use session_manager::{ExternalSession, NewSession, Rejection, ValidateError};

use super::{LIMIT, Run, Users, outage_only};
use crate::world::{OUTSIDE, user};

/// How a question to the directory fails.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failure {
    Error,
    Hang,
}

#[async_trait]
impl UserDirectory for Users {
    async fn lookup(&self, user: &UserId) -> Result<Option<UserStatus>> {
        let failure = {
            let mut state = self.0.lock().unwrap();
            state.asked += 1;
            let asked = state.asked;
            state.failing.filter(|(nth, _)| *nth == asked).map(|(_, failure)| failure)
        };
        match failure {
            Some(Failure::Error) => Err(Error::new(ErrorKind::Unavailable, "directory", "lookup")),
            Some(Failure::Hang) => std::future::pending().await,
            None => {
                let version = self.0.lock().unwrap().versions.get(user).copied();
                Ok(Some(UserStatus::new(true, version.unwrap_or(1))))
            }
        }
    }
}

impl Run {
    pub(super) async fn run_crossings(&mut self) {
        self.run_a_sign_in_beside_a_tab().await;
        self.run_evictions().await;
        self.run_a_rule().await;
        self.run_a_new_password().await;
    }

    /// A sign-in takes over what another tab saved. If it fails, the session goes on with what was
    /// saved.
    async fn run_a_sign_in_beside_a_tab(&mut self) {
        let manager = self.world.manager.clone();
        let Some(visitor) = self.step("visit", manager.create(NewSession::anonymous())).await else { return };
        let token = visitor.token.expose().to_string();
        let Some(here) = self.open("validate", &token).await else { return };
        visitor.session.insert("cart", &1).unwrap();
        let is_saved = self.step("save in another tab", visitor.session.save()).await.is_some();
        let new = NewSession::for_user(user("sid")).replacing(&here);
        let token = match self.step("sign in", manager.create(new)).await {
            Some(signed_in) => {
                self.dead.push(("the replaced session", token));
                signed_in.token.expose().to_string()
            }
            None => token,
        };
        if is_saved {
            self.kept.push(("what a tab saved beside a sign-in", token));
        }
    }

    /// More sign-ins than the limit allows.
    async fn run_evictions(&mut self) {
        let manager = self.world.manager.clone();
        let mut tokens = HashMap::new();
        for _ in 0..=LIMIT {
            self.world.clock.advance(Duration::from_millis(1));
            let created = self.step("create", manager.create(NewSession::for_user(user("lea")))).await;
            let Some(created) = created else { continue };
            let evicted = created.ended.iter().filter_map(|info| tokens.remove(&info.id));
            self.dead.extend(evicted.map(|token| ("an evicted session", token)));
            tokens.insert(created.session.id(), created.token.expose().to_string());
        }
        self.handed.extend(tokens.keys());
        self.world.clock.advance(Duration::from_millis(1));
        let external = ExternalSession::new("lea's", user("lea")).unwrap();
        self.handed.push(external.id());
        let ensured = async { outage_only(manager.ensure(external, &RequestClient::default()).await) };
        self.step("ensure", ensured).await;
    }

    /// A refresh that a rule denies changes nothing, and the next one is no theft.
    async fn run_a_rule(&mut self) {
        let manager = self.world.manager.clone();
        let new = NewSession::for_user(user("rita")).with_refresh(true);
        let Some(pair) = self.step("create with refresh", manager.create(new)).await else { return };
        let (id, token) = (pair.session.id(), pair.refresh.as_ref().unwrap().expose().to_string());
        let before = self.world.stored(id).await;
        let outside = RequestClient::new(OUTSIDE.parse().ok(), None);
        let denied = async {
            match manager.refresh(&token, &outside).await {
                Err(ValidateError::Rejected(Rejection::Denied { .. })) => Ok(()),
                Err(ValidateError::Unavailable(error)) => Err(error),
                other => panic!("a rule denies this, and the answer was {other:?}"),
            }
        };
        self.step("denied refresh", denied).await;
        assert_eq!(self.world.stored(id).await, before, "a denied refresh changes nothing");
        let inside = RequestClient::default();
        let refreshed = async { outage_only(manager.refresh(&token, &inside).await) };
        let refreshed = match self.step("refresh", refreshed).await {
            Some(refreshed) => refreshed,
            None => manager.refresh(&token, &inside).await.expect("a refresh that failed can be repeated"),
        };
        self.live.push(("the refreshed session", refreshed.token.expose().to_string()));
    }

    /// A new password ends the session that was begun with the old one, and not the one that was
    /// begun with the new one.
    async fn run_a_new_password(&mut self) {
        let manager = self.world.manager.clone();
        let una = |version| NewSession::for_user(user("una")).with_credential_version(version);
        let old = self.step("create", manager.create(una(1))).await;
        self.users.0.lock().unwrap().versions.insert(user("una"), 2);
        manager.forget_user(&user("una"));
        let new = self.step("create", manager.create(una(2))).await;
        if let Some(old) = old {
            let token = old.token.expose().to_string();
            match self.world.validate(&token).await {
                Err(ValidateError::Rejected(Rejection::Ended(_)) | ValidateError::Unavailable(_)) => {}
                other => panic!("the password is another one now, and the answer was {other:?}"),
            }
            self.dead.push(("the session of the old password", token));
        }
        if let Some(new) = new {
            self.live.push(("the session of the new password", new.token.expose().to_string()));
        }
    }

    /// Every session of the user has a client that received its token.
    pub(super) fn check_handed(fault: &str, shown: &[SessionId], handed: &[SessionId]) {
        let orphan = shown.iter().find(|id| !handed.contains(id));
        assert_eq!(orphan, None, "{fault}: a session whose token no client received");
    }
}
