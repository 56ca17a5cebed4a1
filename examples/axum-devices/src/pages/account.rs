//! The "Account & security" page, and the password form in front of it.

use axum::extract::State;
use maud::{Markup, html};
use session_axum::{Session, SessionError};
use session_manager::StepUp;

use crate::account::confirmed;
use crate::app::AppState;
use crate::forms::owner;
use crate::pages::page;
use crate::view::{Notice, View};
use crate::words::{self, ago, until};

pub(crate) async fn show(State(state): State<AppState>, view: View) -> Result<Markup, SessionError> {
    let session = view.session.as_ref().ok_or(SessionError::Required)?;
    let owner = owner(session)?;
    let content = match confirmed(session, &state) {
        Ok(()) => account(&state, &view, session, state.accounts.address(&owner)),
        Err(missing) => confirm(&view, session, missing),
    };
    Ok(page("Account & security", "/account", &view, &content))
}

/// Asks for the password. Contains the name for password managers, and for users who share a
/// device.
fn confirm(view: &View, session: &Session, missing: StepUp) -> Markup {
    let is_wrong = view.notice == Some(Notice::WrongPassword);
    let user = session.user_id().map(|user| user.to_string());
    html! {
        div.narrow {
            section.card {
                (lock())
                h1 { "Confirm it’s you" }
                p.muted.below { (why(view, session, missing)) }
                form.stack method="post" action="/account/confirm" {
                    input.hidden type="text" value=[user] autocomplete="username" readonly tabindex="-1" aria-hidden="true";
                    label { "Password of " (view.user.as_deref().unwrap_or_default())
                        input name="password" type="password" autocomplete="current-password" required autofocus
                            aria-invalid=[is_wrong.then_some("true")];
                    }
                    button type="submit" { "Continue" }
                    a.centred href="/" { "Not now" }
                }
            }
            p.muted.aside { "You stay signed in either way." }
        }
    }
}

fn why(view: &View, session: &Session, missing: StepUp) -> String {
    match missing {
        StepUp::Fresh { max_age } => format!(
            "You last entered your password {}. Your account asks for it again after {}.",
            ago(session.record().authenticated_at, view.now),
            words::span(max_age)
        ),
        _ => "This session began without your password. Enter it to see and change your account.".to_owned(),
    }
}

fn account(state: &AppState, view: &View, session: &Session, address: Option<String>) -> Markup {
    let record = session.record();
    let again = record.authenticated_at.saturating_add(state.confirm_after);
    let how: Vec<_> = record.auth.iter().map(|event| words::method(&event.method)).collect();
    html! {
        div.intro {
            h1 { "Account & security" }
            p.lead { "Only you see this: you entered your password a moment ago." }
        }
        div.halves {
            section.card aria-labelledby="who" {
                h2 #who { "You" }
                dl.rows {
                    div { dt { "Signed in as" } dd { (view.user.as_deref().unwrap_or_default()) } }
                    div { dt { "Password entered" } dd { (ago(record.authenticated_at, view.now)) } }
                    div { dt { "Asked for again" } dd { (until(again, view.now)) } }
                    div { dt { "Assurance" } dd { (words::assurance(session.assurance())) small.muted { (how.last().copied().unwrap_or_default()) } } }
                }
            }
            section.card aria-labelledby="recovery" {
                h2 #recovery { "Recovery address" }
                p.muted.below {
                    @if address.is_some() { "Where we write if you cannot sign in any more." }
                    @else { "None yet. Without one, we cannot help if you forget your password." }
                }
                form.stack method="post" action="/account/recovery" {
                    label { "E-mail"
                        input name="address" type="email" autocomplete="email" maxlength="254" required
                            placeholder="ann@example.com" value=[address]
                            aria-invalid=[(view.notice == Some(Notice::NoAddress)).then_some("true")];
                    }
                    button type="submit" { "Save" }
                }
            }
        }
    }
}

fn lock() -> Markup {
    html! {
        span.device-icon.lock aria-hidden="true" {
            svg viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" stroke-width="1.7"
                stroke-linecap="round" stroke-linejoin="round" {
                path d="M6 10.500h12v9.500H6zM8.500 10.500V8a3.500 3.500 0 0 1 7 0v2.500M12 14.500v2" {}
            }
        }
    }
}
