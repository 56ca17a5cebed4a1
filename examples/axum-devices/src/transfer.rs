//! Moves a session to another device with a code.

use axum::Form;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::HOST;
use maud::Markup;
use serde::Deserialize;
use session_axum::{NewSession, Session, SessionContext, SessionError};

use crate::app::AppState;
use crate::forms::{Done, owner, to};
use crate::pages;
use crate::view::{Notice, View};

#[derive(Debug, Deserialize)]
pub(crate) struct Offer {
    /// A checkbox: present or absent.
    end: Option<String>,
}

/// Shows a code. The only form that returns a page instead of a redirect: the code is not stored,
/// so a second request could not show it.
pub(crate) async fn offer(
    session: Session,
    State(state): State<AppState>,
    headers: HeaderMap,
    view: View,
    Form(form): Form<Offer>,
) -> Result<Markup, SessionError> {
    owner(&session)?;
    let ends_here = form.end.is_some();
    let code = state.manager.begin_transfer(&session, ends_here).await?;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    Ok(pages::transfer::code(&view, &code.expose(), host, ends_here))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Redeem {
    code: String,
}

/// Redeems a code. The new session has the user, cart and lifetime of the session that showed it.
pub(crate) async fn redeem(context: SessionContext, Form(form): Form<Redeem>) -> Done {
    match context.redeem_transfer(&form.code, NewSession::anonymous()).await {
        Ok(_) => Ok(to("/", Notice::Moved)),
        Err(SessionError::WrongCode) => Ok(to("/redeem", Notice::WrongCode)),
        Err(error) => Err(error),
    }
}
