//! What every page shows around its own content.

use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use session_axum::{Session, SessionContext, SessionError};
use session_manager::core::Timestamp;

use crate::cart::Cart;

/// The frame of a page: who is there, what is in the cart, how long the session lasts, and what just happened.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) session: Option<Session>,
    pub(crate) user: Option<String>,
    pub(crate) cart: Cart,
    pub(crate) notice: Option<Notice>,
    pub(crate) time: Option<TimeLeft>,
    pub(crate) now: Timestamp,
}

/// What just happened, carried by the redirect after a form. A fixed list: a link cannot put words into our mouth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Notice {
    Added,
    Confirmed,
    Moved,
    NoAddress,
    Others,
    Removed,
    Renamed,
    Saved,
    SignIn,
    SignedIn,
    SignedOut,
    SignedOutOne,
    Unnamed,
    Wrong,
    WrongCode,
    WrongPassword,
}

impl Notice {
    /// The name in the address.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Confirmed => "confirmed",
            Self::Moved => "moved",
            Self::NoAddress => "no-address",
            Self::Others => "others",
            Self::Removed => "removed",
            Self::Renamed => "renamed",
            Self::Saved => "saved",
            Self::SignIn => "sign-in",
            Self::SignedIn => "signed-in",
            Self::SignedOut => "signed-out",
            Self::SignedOutOne => "signed-out-one",
            Self::Unnamed => "unnamed",
            Self::Wrong => "wrong",
            Self::WrongCode => "wrong-code",
            Self::WrongPassword => "wrong-password",
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Added => "Added to your cart.",
            Self::Confirmed => "Thank you, it is you.",
            Self::Moved => "You are signed in here, and your cart came along.",
            Self::NoAddress => "That is no e-mail address.",
            Self::Others => "Your other devices are signed out.",
            Self::Removed => "Removed from your cart.",
            Self::Renamed => "The device has its new name.",
            Self::Saved => "The recovery address is saved.",
            Self::SignIn => "Sign in to see this page.",
            Self::SignedIn => "You are signed in.",
            Self::SignedOut => "You are signed out.",
            Self::SignedOutOne => "The device is signed out.",
            Self::Unnamed => "A name has 1 to 100 characters.",
            Self::Wrong => "That name and password do not belong together.",
            Self::WrongCode => {
                "That code is mistyped, was used already, or is older than 2 minutes. Ask for a new one."
            }
            Self::WrongPassword => "That is not your password. Try again.",
        }
    }

    pub(crate) const fn is_problem(self) -> bool {
        matches!(self, Self::NoAddress | Self::Unnamed | Self::Wrong | Self::WrongCode | Self::WrongPassword)
    }
}

/// How long the session lasts from this page view on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLeft {
    pub(crate) left: Duration,
    /// How much longer it may last if the manager did not have to save a write.
    pub(crate) grace: Duration,
    /// From when on the page warns.
    pub(crate) warn: Duration,
    /// Whether using the site moves the end.
    pub(crate) renews: bool,
}

/// Longest time before the end at which the page warns.
const WARN: Duration = Duration::from_secs(5 * 60);

impl TimeLeft {
    /// The stored idle deadline does not know of this page view yet. The view moves it to a full idle time from now, less what
    /// the manager saves in writes: a tenth, at most a minute.
    fn of(session: &Session, now: Timestamp) -> Self {
        let record = session.record();
        let absolute = record.expires_at.since(now);
        let Some(idle) = record.idle_timeout.filter(|idle| *idle < absolute) else {
            let whole = record.expires_at.since(record.created_at);
            return Self { left: absolute, grace: Duration::ZERO, warn: WARN.min(whole / 2), renews: false };
        };
        let grace = (idle / 10).min(Duration::from_secs(60));
        Self { left: idle - grace, grace, warn: WARN.min(idle / 2), renews: true }
    }
}

#[derive(Debug, Deserialize)]
struct Asked {
    notice: Option<Notice>,
}

impl<S: Send + Sync> FromRequestParts<S> for View {
    type Rejection = SessionError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Ok(context) = SessionContext::from_request_parts(parts, state).await;
        let session = context.session().await?;
        let now = context.manager()?.now();
        let asked = Query::<Asked>::try_from_uri(&parts.uri).ok();
        let record = session.as_ref().map(|session| session.record());
        let user = record.and_then(|record| Some((record.user_id.clone()?, record.username.clone())));
        let time = session.as_ref().filter(|_| user.is_some()).map(|session| TimeLeft::of(session, now));
        Ok(Self {
            cart: Cart::of(session.as_ref())?,
            user: user.map(|(id, name)| name.unwrap_or_else(|| id.to_string())),
            notice: asked.and_then(|Query(asked)| asked.notice),
            session,
            time,
            now,
        })
    }
}
