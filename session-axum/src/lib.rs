//! Server-side sessions for axum: a layer, extractors, and routes that show users their devices.
//!
//! Build one [`SessionManager`](session_manager::SessionManager), add a [`SessionLayer`] to the
//! router, and take a [`Session`] as a handler argument:
//!
//! ```
//! use axum::response::Redirect;
//! use axum::routing::{get, post};
//! use axum::{Form, Router};
//! use session_axum::{NewSession, Session, SessionContext, SessionError};
//! use session_axum::{SameOrigin, SessionLayer, routes};
//! use session_manager::SessionManager;
//! use session_memory::MemoryStore;
//!
//! # #[derive(serde::Deserialize)] struct Credentials { name: String, password: String }
//! # impl Credentials { async fn check(&self) -> bool { self.password == "open sesame" } }
//! async fn home(session: Option<Session>) -> String {
//!     match session.and_then(|session| session.user_id()) {
//!         Some(user) => format!("Hello {user}"),
//!         None => "Hello, guest".to_owned(),
//!     }
//! }
//!
//! async fn sign_in(
//!     context: SessionContext,
//!     Form(form): Form<Credentials>,
//! ) -> Result<Redirect, SessionError> {
//!     if !form.check().await {
//!         return Ok(Redirect::to("/sign-in?wrong"));
//!     }
//!     context.sign_in(NewSession::for_user(form.name.parse()?)).await?;
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
//! Serve it with
//! [`into_make_service_with_connect_info::<SocketAddr>()`](axum::Router::into_make_service_with_connect_info),
//! so that sessions record the address of the client that created them. The address is never read
//! from a header.
//!
//! # Extractors
//! | argument | is | without a session | store unavailable |
//! |---|---|---|---|
//! | [`Session`] | the live session | 401 | 503 |
//! | `Option<Session>` | the live session, if any | `None` | 503 |
//! | [`SessionContext`] | creates and ends the session | always succeeds | its methods return an error |
//!
//! # Sessions are lazy
//! A request whose handler takes none of these arguments passes through: the layer reads no header,
//! calls no store and leaves the response unchanged, and the request does not update the session's
//! last-seen time. The first extractor validates the token, and the other extractors of the request
//! share the result. With [`SessionLayer::validate_every_request`] every request updates the
//! last-seen time.
//!
//! # When data is written
//! `session.insert(...)` and the other setters change the handle. The changes are written after the
//! handler returns, in one compare-and-swap that merges them with the writes of other requests.
//! They are written
//!
//! - **not** if the handler returned a server error (5xx): a failed request must not leave half of
//!   its data;
//! - **still** if the client disconnected: the write runs in its own task;
//! - **earlier** if you call `session.save().await`. Call it if you need to react to the result,
//!   and for every change made in a task or a streamed body that outlives the handler.
//!
//! If the write fails, its error replaces the response, because the handler's page would describe
//! changes that were not made. Signing in and out take effect during the call: see
//! [`SessionContext`].
//!
//! # Response headers
//! - `Set-Cookie` when a session was created. A removal after signing out, and when a handler asked
//!   for the session and the cookie is garbled, unknown, ended or expired. At most one per response
//!   and cookie name.
//! - `Set-Cookie` when the session got a new token, on the manager's timer or because the handler
//!   asked for it.
//! - **No `Set-Cookie` when the store is unavailable.** The response is a 503 with `Retry-After`,
//!   and users stay signed in.
//! - No `Set-Cookie` if a rule denied the request, or if it contains two different cookies of the
//!   name. Such a request is anonymous: removing one cookie would promote the other, which an
//!   attacker may have planted.
//! - `Cache-Control: no-store`, unless you set one, and `Vary`, whenever the response depends on
//!   the session.
//! - Errors are `application/problem+json` with fixed texts, see [`SessionError`] and [`Problem`].
//!
//! # Cross-site request forgery
//! The cookie is `SameSite=Lax`, and the [routes](routes()) check that state-changing requests come
//! from the same origin. Add [`SameOrigin`] to your own forms too.
//!
//! # Plain http
//! Browsers accept the default [`SessionCookie`] over https only (and some of them on `localhost`).
//! During development, [`SessionCookie::insecure_dev`] works everywhere.
//!
//! # API clients
//! [`Transport::Bearer`] and [`Transport::Either`] read `Authorization: Bearer`. The handler that
//! creates a session of the kind [`Api`](session_manager::core::SessionKind::Api) receives its
//! token, see [`SignedIn::token`].
//!
//! # Not supported
//! Cookies that contain the session data, and cookies that scripts can read.
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
