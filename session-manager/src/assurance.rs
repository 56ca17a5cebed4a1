//! How sure the application is who the user is: requiring more, and signing in in two steps.
//!
//! The level is judged in one place,
//! [`SessionRecord::assurance_at`](session_core::SessionRecord::assurance_at), with the decay of
//! [`with_step_up_lifetime`](crate::SessionManagerBuilder::with_step_up_lifetime): the handle, the
//! rule [`RequiredAssurance`](session_core::rules::RequiredAssurance) and
//! [`SessionInfo`](crate::SessionInfo) agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use session_core::{
    Actor, AssuranceLevel, AuthMethod, EndReason, Ended, Error, ErrorKind, Expiry, Lifetime, Result,
    SessionRecord, Timestamp, UserId,
};

use crate::create::Created;
use crate::manager::SessionManager;
use crate::new_session::NewSession;
use crate::replace::Superseding;
use crate::session::Session;

/// Where a pending sign-in keeps what it knows. Keys with this prefix belong to the library.
const PENDING_KEY: &str = "session-kit.pending";

/// How long a user has for the second step.
const PENDING_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// What [`Session::require`] misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepUp {
    /// The last authentication is too long ago: ask for the password, or whatever it was, again.
    #[error("authentication is older than {} s", .max_age.as_secs())]
    Fresh {
        /// How old it may be.
        max_age: Duration,
    },
    /// The level is too low: ask for a further factor.
    #[error("{required} is required, the session has {actual}")]
    Level {
        /// What is required.
        required: AssuranceLevel,
        /// What the session has now.
        actual: AssuranceLevel,
    },
}

impl Session {
    /// Returns the level that the session has now. A step-up beyond one factor decays with
    /// [`with_step_up_lifetime`](crate::SessionManagerBuilder::with_step_up_lifetime): the session
    /// goes on at the level of its sign-in.
    #[must_use]
    pub fn assurance(&self) -> AssuranceLevel {
        self.record().assurance_at(self.now(), self.shared().settings.step_up_lifetime)
    }

    /// Requires a level, and optionally that the last authentication is younger than `max_age`.
    ///
    /// Freshness counts from authentication: not from creation, activity or refresh. Once the user
    /// did what is missing, call [`SessionManager::record_authentication`].
    ///
    /// # Errors
    /// [`StepUp`] names what is missing.
    pub fn require(
        &self,
        level: AssuranceLevel,
        max_age: Option<Duration>,
    ) -> std::result::Result<(), StepUp> {
        let actual = self.assurance();
        if actual < level {
            return Err(StepUp::Level { required: level, actual });
        }
        let age = self.now().since(self.record().authenticated_at);
        match max_age {
            Some(max_age) if age >= max_age => Err(StepUp::Fresh { max_age }),
            _ => Ok(()),
        }
    }
}

/// A sign-in between its first and its second step.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    user: UserId,
    methods: Vec<String>,
    credential_version: Option<u64>,
    /// How often the second step was tried.
    #[serde(default)]
    attempts: u32,
}

impl SessionManager {
    /// Begins a sign-in that needs another step: the user has shown a first factor.
    ///
    /// The result is an anonymous session of at most 10 minutes that names its candidate. It is
    /// listed nowhere, counts for no limit and
    /// [opens nothing](Session::user_id). Of `new`, the user, the methods and the credential version are kept.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) without a user; else as
    /// [`create`](Self::create).
    pub async fn begin_sign_in(&self, new: NewSession) -> Result<Created> {
        let (user, methods, credential_version) = new.candidate();
        let user = user.ok_or_else(|| Error::invalid("sign in", "a pending sign-in has a candidate"))?;
        let methods = methods.iter().map(|method| method.as_str().to_owned()).collect();
        let pending = new.into_anonymous(Lifetime::new(None, PENDING_LIFETIME)?);
        let pending =
            pending.with_value(PENDING_KEY, &Pending { user, methods, credential_version, attempts: 0 })?;
        self.create(pending).await
    }

    /// Returns the candidate of a pending sign-in, `None` for any other session.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data cannot be read.
    pub fn pending_user(&self, session: &Session) -> Result<Option<UserId>> {
        Ok(session.get::<Pending>(PENDING_KEY)?.map(|pending| pending.user))
    }

    /// Counts an attempt at the second step of a pending sign-in, and returns how many are left.
    /// Call it *before* you check the code: then a thousand guesses at once are no more than the
    /// limit, 5 by default
    /// ([`with_sign_in_attempts`](crate::SessionManagerBuilder::with_sign_in_attempts)).
    ///
    /// # Errors
    /// [`LimitExceeded`](session_core::ErrorKind::LimitExceeded) beyond the limit: the pending
    /// sign-in ends as [`PolicyDenied`](EndReason::PolicyDenied), and the user begins anew;
    /// [`Ended`](session_core::ErrorKind::Ended) if it has ended;
    /// [`Invalid`](session_core::ErrorKind::Invalid) if the session is no pending sign-in; else as
    /// the store answers, and then the code must not be checked.
    ///
    /// # Security
    /// Counted in the store of record, so it holds over all nodes. It bounds the guesses for one
    /// first factor; bounding how often the first factor may be tried is the application's part.
    ///
    /// # Cancellation
    /// The attempt is counted or not.
    pub async fn count_attempt(&self, pending: &Session) -> Result<u32> {
        let (shared, now) = (self.shared(), self.now());
        let (codec, lasts) = (self.settings().codec(), Superseding::lasts(self.settings()));
        let most = self.settings().sign_in_attempts.get();
        let mut operation = self.backend().operation();
        let used_up =
            || Error::limit_exceeded("manager", "sign in", Vec::new()).with_detail("too many attempts");
        let left = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&left);
        let counting = shared.modify(&mut operation, pending.record(), move |current| {
            check_pending(Some(current), now)?;
            let mut data = codec.decode(&current.data)?;
            Superseding::check(&data, now, lasts, "sign in")?;
            let mut state: Pending = data.get(PENDING_KEY)?.ok_or_else(not_pending)?;
            if state.attempts >= most {
                return Err(used_up());
            }
            state.attempts += 1;
            counted.store(most - state.attempts, Ordering::Relaxed);
            data.insert(PENDING_KEY, &state)?;
            let mut next = current.clone();
            next.data = codec.encode_with_room(&data)?;
            Ok(Some(next))
        });
        match counting.await {
            Ok(_) => Ok(left.load(Ordering::Relaxed)),
            Err(error) => {
                if error.kind() == ErrorKind::LimitExceeded {
                    let ended = Ended::new(EndReason::PolicyDenied, self.now(), Actor::System);
                    self.end_in_background(pending.id(), ended);
                }
                Err(error)
            }
        }
    }

    /// Completes a pending sign-in with its further factor: creates the real session, under the
    /// limits, and ends the pending one.
    ///
    /// The client, the device and the lifetime of `new` count; its user and
    /// credential version are those of the first step, so a password changed between the steps is
    /// noticed. A pending sign-in completes once.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) if the session is no pending sign-in, or names
    /// another candidate than `new`; [`Ended`](session_core::ErrorKind::Ended) if it was completed,
    /// ended or has expired; else as [`create`](Self::create).
    pub async fn complete_sign_in(&self, pending: &Session, new: NewSession) -> Result<Created> {
        let first = pending.get::<Pending>(PENDING_KEY)?.ok_or_else(not_pending)?;
        let (user, ..) = new.candidate();
        if user.is_some_and(|user| user != first.user) {
            return Err(Error::invalid("sign in", "the pending sign-in is another user's"));
        }
        let methods: Vec<AuthMethod> =
            first.methods.iter().map(|name| name.parse()).collect::<Result<_>>()?;
        let new = new.completing(first.user, methods, first.credential_version);
        self.create(new.replacing(pending)).await
    }
}

fn not_pending() -> Error {
    Error::invalid("sign in", "the session is no pending sign-in")
}

/// Checks that a pending sign-in can be completed: it must be live in the store of record.
pub(crate) fn check_pending(stored: Option<&SessionRecord>, now: Timestamp) -> Result<()> {
    let stored = stored.ok_or_else(|| Error::not_found("manager", "sign in"))?;
    let ended = match (stored.ended(), stored.expiry(now)) {
        (Some(ended), _) => ended.clone(),
        (None, Expiry::Expired(deadline)) => Ended::new(deadline.reason, deadline.at, Actor::System),
        (None, _) => return Ok(()),
    };
    Err(Error::ended("manager", "sign in", ended))
}
