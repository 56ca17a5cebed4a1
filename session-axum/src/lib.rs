//! Server-side sessions for axum: a layer, extractors, and routes that show users their devices.
//!
//! Build one [`SessionManager`](session_manager::SessionManager), put a [`SessionLayer`] on the router, and ask for a
//! [`Session`] where you need one:
//!
//! ```
//! use axum::response::Redirect;
//! use axum::routing::{get, post};
//! use axum::{Form, Router};
//! use session_axum::{NewSession, SameOrigin, Session, SessionContext, SessionError, SessionLayer, routes};
//! use session_manager::SessionManager;
//! use session_memory::MemoryStore;
//!
//! # #[derive(serde::Deserialize)] struct Credentials { name: String, password: String }
//! # impl Credentials { async fn check(&self) -> bool { self.password == "open sesame" } }
//! async fn home(session: Option<Session>) -> String {
//!     match session.and_then(|session| session.user_id()) {
//!         Some(user) => format!("Hello {user}"),
//!         None => "Hello, whoever you are".to_owned(),
//!     }
//! }
//!
//! async fn sign_in(context: SessionContext, Form(who): Form<Credentials>) -> Result<Redirect, SessionError> {
//!     if !who.check().await {
//!         return Ok(Redirect::to("/sign-in?wrong"));
//!     }
//!     context.sign_in(NewSession::for_user(who.name.parse()?)).await?;
//!     Ok(Redirect::to("/"))
//! }
//!
//! async fn add_to_cart(context: SessionContext) -> Result<Redirect, SessionError> {
//!     context.insert("cart", &["apple"]).await?;
//!     Ok(Redirect::to("/"))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), session_manager::core::Error> {
//! let manager = SessionManager::builder(MemoryStore::default()).build()?;
//! let app: Router = Router::new()
//!     .route("/", get(home))
//!     .route("/sign-in", post(sign_in))
//!     .route("/cart", post(add_to_cart))
//!     .layer(SameOrigin::default())
//!     .merge(routes())
//!     .layer(SessionLayer::new(manager));
//! # Ok(())
//! # }
//! ```
//!
//! Serve it with [`into_make_service_with_connect_info::<SocketAddr>()`](axum::Router::into_make_service_with_connect_info), so
//! that sessions know the address that they were begun from. No header is believed for that.
//!
//! # What to ask for
//! | argument | is | without a session | store not reachable |
//! |---|---|---|---|
//! | [`Session`] | the live session | 401 | 503 |
//! | `Option<Session>` | the live session, if any | `None` | 503 |
//! | [`SessionContext`] | the way to begin and end one | always there | its methods say so |
//!
//! # It costs nothing until you ask
//! A request whose handler takes none of these is passed through: no header is read, no store is called, the response stays as it
//! is, and it does not count as use of the session. The first that asks has the token validated, and all others of the request
//! share the result. [`SessionLayer::validate_every_request`] counts every request as use.
//!
//! # When data is written
//! `session.insert(...)` and its relatives change the handle. What was changed is written after the handler, in one
//! compare-and-swap that merges with what other requests wrote:
//!
//! - **not** if the handler answered with a server error (5xx): half of a failed request is worth nothing;
//! - **yes** if the client disconnected meanwhile: the write runs in a task of its own;
//! - **earlier** if you call `session.save().await`: what you want to react to, and everything that you change in a task or in a
//!   streamed body that outlives the handler, needs this.
//!
//! If that write fails, its error replaces the response, because the handler's page would claim what did not happen. Signing in
//! and out do not wait for the end of the handler: see [`SessionContext`].
//!
//! # What the response says
//! - `Set-Cookie` when a session was created, and to remove the cookie after signing out, and when somebody asked for the session
//!   and the cookie turned out to be worthless: garbled, unknown, ended, expired. At most one per response and cookie name.
//! - `Set-Cookie` when the session got a new token, on the manager's timer or because the handler asked for it.
//! - **Nothing about the cookie when the store cannot be asked.** That is a 503 with `Retry-After`, and users stay signed in.
//! - Nothing about the cookie if a rule denied the request, or if it brought two different cookies of the name: it is anonymous
//!   then, and removing one of them would promote the other, which may be the one that somebody planted.
//! - `Cache-Control: no-store`, unless you set one, and `Vary`, whenever the response depends on the session.
//! - Errors are `application/problem+json` with fixed texts, see [`SessionError`] and [`Problem`].
//!
//! # Forged requests
//! The cookie is `SameSite=Lax`, and the [routes](routes()) check that state-changing requests come from the same origin. Put
//! [`SameOrigin`] on your own forms too.
//!
//! # Plain http
//! Browsers take the default [`SessionCookie`] over https only (and some of them on `localhost`). While you develop,
//! [`SessionCookie::insecure_dev`] works everywhere.
//!
//! # Programs
//! [`Transport::Bearer`] and [`Transport::Either`] read `Authorization: Bearer`. A session of the kind
//! [`Api`](session_manager::core::SessionKind::Api) hands its token to the handler that creates it, see [`SignedIn::token`].
//!
//! # Not supported
//! Cookies that carry the data itself, and cookies that scripts can read.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod context;
mod cookie;
mod credentials;
mod error;
mod extract;
mod finish;
mod layer;
mod origin;
mod problem;
mod routes;
mod state;

pub use context::{SessionContext, SignedIn};
pub use cookie::{CookieError, Persistence, SameSite, SessionCookie, SessionCookieBuilder};
pub use credentials::Transport;
pub use error::SessionError;
pub use extract::Session;
pub use layer::{SessionFuture, SessionLayer, SessionService};
pub use origin::{InvalidOrigin, SameOrigin, SameOriginFuture, SameOriginService};
pub use problem::Problem;
pub use routes::{SessionRoute, SessionRoutes, routes};
pub use session_manager::NewSession;
