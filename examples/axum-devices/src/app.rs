//! Assembles the site: one manager, one layer, the routes.

use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use axum::routing::{get, post};
use session_axum::{SameOrigin, SessionCookie, SessionLayer};
use session_manager::core::{ExpiryPolicy, Lifetime, Result, SessionStore};
use session_manager::{SessionManager, Tiers};

use crate::account::{self, Accounts};
use crate::{assets, error_page, forms, pages, transfer};

/// Lifetimes of the demo's sessions.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Lifetimes {
    /// Time without use after which a session ends, unless it is remembered.
    pub idle: Duration,
    /// Time after which a session ends in any case.
    pub absolute: Duration,
}

impl Lifetimes {
    /// Creates lifetimes from both times.
    #[must_use]
    pub const fn new(idle: Duration, absolute: Duration) -> Self {
        Self { idle, absolute }
    }
}

impl Default for Lifetimes {
    /// Returns half an hour without use, and 12 hours in total.
    fn default() -> Self {
        Self::new(Duration::from_secs(30 * 60), Duration::from_secs(12 * 60 * 60))
    }
}

/// Builds the manager of the demo on any store, with tiers if there are any.
///
/// # Errors
/// If a lifetime is zero or longer than 400 days.
pub fn manager(
    store: impl SessionStore,
    lifetimes: Lifetimes,
    tiers: Option<Tiers>,
) -> Result<SessionManager> {
    let expiry =
        ExpiryPolicy::default().with_standard(Lifetime::new(Some(lifetimes.idle), lifetimes.absolute)?);
    let mut builder = SessionManager::builder(store)
        .with_expiry(expiry)
        // A short interval, so that you can watch an expired session move to the history.
        .with_sweep_interval(Duration::from_secs(2));
    if let Some(tiers) = tiers {
        builder = builder.with_tiers(tiers);
    }
    builder.build()
}

/// The state that handlers can extract.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub(crate) manager: SessionManager,
    /// True if memory or a cache is read before the store.
    pub(crate) has_tiers: bool,
    pub(crate) accounts: Accounts,
    /// How old the password may be for the account page.
    pub(crate) confirm_after: Duration,
}

/// Builds the site on a manager. The account page asks for the password again if it was entered
/// longer than `confirm_after` ago.
pub fn app(manager: SessionManager, confirm_after: Duration) -> Router {
    let forms = Router::new()
        .route("/account/confirm", post(account::confirm))
        .route("/account/recovery", post(account::set_recovery))
        .route("/cart/add", post(forms::add_to_cart))
        .route("/cart/remove", post(forms::remove_from_cart))
        .route("/sign-in", post(forms::sign_in))
        .route("/sign-out", post(forms::sign_out))
        .route("/redeem", post(transfer::redeem))
        .route("/devices/transfer", post(transfer::offer))
        .route("/devices/others/sign-out", post(forms::sign_out_others))
        .route("/devices/{id}/rename", post(forms::rename))
        .route("/devices/{id}/sign-out", post(forms::sign_out_one))
        .layer(SameOrigin::default());

    Router::new()
        .route("/", get(pages::shop::show))
        .route("/sign-in", get(pages::sign_in::show))
        .route("/devices", get(pages::devices::show))
        .route("/account", get(pages::account::show))
        .route("/redeem", get(pages::transfer::redeem))
        .merge(forms)
        .nest("/api", session_axum::routes())
        .fallback(error_page::not_found)
        // The demo uses plain http on localhost. A real site keeps the default cookie.
        .layer(SessionLayer::new(manager.clone()).with_cookie(SessionCookie::insecure_dev()))
        .layer(from_fn(error_page::for_browsers))
        .merge(assets::router())
        .layer(map_response(harden))
        .with_state(AppState {
            has_tiers: manager.scope().is_some(),
            manager,
            accounts: Accounts::default(),
            confirm_after,
        })
}

/// Allows only resources of this host, no framing and no inline scripts.
async fn harden(mut response: Response) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                          form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}
