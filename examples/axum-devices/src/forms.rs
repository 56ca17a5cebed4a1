//! The handlers of the forms. Each changes something and redirects to a page that shows it.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Redirect;
use serde::Deserialize;
use session_axum::{NewSession, Session, SessionContext, SessionError};
use session_manager::core::{Actor, AuthMethod, Error, ErrorKind, SessionId, UserId};

use crate::app::AppState;
use crate::cart::{self, Cart};
use crate::users;
use crate::view::Notice;

pub(crate) type Done = Result<Redirect, SessionError>;

pub(crate) fn to(page: &str, notice: Notice) -> Redirect {
    let joint = if page.contains('?') { '&' } else { '?' };
    Redirect::to(&format!("{page}{joint}notice={}", notice.name()))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Picked {
    product: String,
}

pub(crate) async fn add_to_cart(context: SessionContext, Form(picked): Form<Picked>) -> Done {
    match cart::product(&picked.product) {
        None => Ok(Redirect::to("/")),
        Some(product) => {
            Cart::add(&context, product).await?;
            Ok(to("/", Notice::Added))
        }
    }
}

pub(crate) async fn remove_from_cart(session: Option<Session>, Form(picked): Form<Picked>) -> Done {
    if let Some(session) = session {
        Cart::remove(&session, picked.product).await?;
    }
    Ok(to("/", Notice::Removed))
}

#[derive(Debug, Deserialize)]
pub(crate) struct SignIn {
    name: String,
    password: String,
    /// A checkbox: present or absent.
    remember: Option<String>,
    /// The page to go to afterwards.
    next: Option<String>,
}

pub(crate) async fn sign_in(context: SessionContext, Form(form): Form<SignIn>) -> Done {
    let next = form.next.as_deref().filter(|next| PAGES.contains(next)).unwrap_or("/");
    let Some(user) = users::check(form.name.trim(), &form.password) else {
        return Ok(to(&format!("/sign-in?next={next}"), Notice::Wrong));
    };
    let new = NewSession::for_user(user.id.parse()?)
        .with_username(user.name)
        .with_auth(AuthMethod::Password)
        .with_remember(form.remember.is_some());
    context.sign_in(new).await?;
    Ok(to(next, Notice::SignedIn))
}

/// Targets of the redirect after signing in. Any other address could be on another site.
pub(crate) const PAGES: [&str; 3] = ["/", "/account", "/devices"];

pub(crate) async fn sign_out(context: SessionContext) -> Done {
    context.sign_out().await?;
    Ok(to("/", Notice::SignedOut))
}

pub(crate) async fn sign_out_others(session: Session, State(state): State<AppState>) -> Done {
    owner(&session)?;
    state.manager.revoke_others(&session).await?;
    Ok(to("/devices", Notice::Others))
}

pub(crate) async fn sign_out_one(
    Path(id): Path<String>,
    session: Session,
    context: SessionContext,
    State(state): State<AppState>,
) -> Done {
    let (owner, id) = (owner(&session)?, parse(&id)?);
    if id == session.id() {
        return sign_out(context).await;
    }
    state.manager.revoke(id, &Actor::User(owner)).await?;
    Ok(to("/devices", Notice::SignedOutOne))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Rename {
    label: String,
}

pub(crate) async fn rename(
    Path(id): Path<String>,
    session: Session,
    State(state): State<AppState>,
    Form(form): Form<Rename>,
) -> Done {
    let (owner, id) = (owner(&session)?, parse(&id)?);
    match state.manager.rename(id, Some(form.label.trim()), &Actor::User(owner)).await {
        Ok(_) => Ok(to("/devices", Notice::Renamed)),
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(to("/devices", Notice::Unnamed)),
        // It ended while the user typed its name: the page shows that.
        Err(error) if error.kind() == ErrorKind::Ended => Ok(Redirect::to("/devices")),
        Err(error) => Err(error.into()),
    }
}

/// Returns the user whose devices the session may manage.
pub(crate) fn owner(session: &Session) -> Result<UserId, SessionError> {
    session.user_id().ok_or(SessionError::Required)
}

fn parse(id: &str) -> Result<SessionId, Error> {
    id.parse().map_err(|_| Error::not_found("axum-devices", "parse"))
}
