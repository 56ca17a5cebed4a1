//! The parts that all pages share.

use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use session_axum::{Session, SessionContext, SessionError};
use session_manager::core::Timestamp;

use crate::cart::Cart;

/// The data of a page's layout: the user, the cart, the remaining time and a notice.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) session: Option<Session>,
    pub(crate) user: Option<String>,
    pub(crate) cart: Cart,
    pub(crate) notice: Option<Notice>,
    pub(crate) time: Option<TimeLeft>,
    pub(crate) now: Timestamp,
}

/// The result of a form, carried by the redirect. A fixed list, so that a link cannot inject text.
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
    /// Returns the name in the address.
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

/// The remaining time of the session after this page view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLeft {
    pub(crate) left: Duration,
    /// How much longer the session may last, because the manager skips some last-seen updates.
    pub(crate) grace: Duration,
    /// The remaining time at which the page warns.
    pub(crate) warn: Duration,
    /// True if using the site extends the session.
    pub(crate) renews: bool,
}

/// Longest time before the end at which the page warns.
const WARN: Duration = Duration::from_secs(5 * 60);

impl TimeLeft {
    /// Returns the time left. The stored idle deadline does not include this page view, which
    /// extends it to a full idle time from now, minus the interval in which the manager skips
    /// writes: a tenth, at most a minute.
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
