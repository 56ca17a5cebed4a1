//! The account page: recovery addresses, behind a recent password.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Form;
use axum::extract::State;
use axum::response::Redirect;
use serde::Deserialize;
use session_axum::Session;
use session_manager::StepUp;
use session_manager::core::{AssuranceLevel, AuthMethod, UserId};

use crate::app::AppState;
use crate::forms::{Done, owner, to};
use crate::users;
use crate::view::Notice;

/// How old the password may be for the account page, by default.
pub const CONFIRM_AFTER: Duration = Duration::from_secs(5 * 60);

/// Longest mail address, RFC 5321 section 4.5.3.1.3.
const LONGEST_ADDRESS: usize = 254;

/// The users' recovery addresses. A real site keeps them in its database, because they belong to
/// the user and not to a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts(Arc<Mutex<HashMap<UserId, String>>>);

impl Accounts {
    pub(crate) fn address(&self, user: &UserId) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(user).cloned()
    }

    fn set_address(&self, user: UserId, address: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(user, address);
    }
}

/// Checks that the user entered their password recently enough to see and change the account.
pub(crate) fn confirmed(session: &Session, state: &AppState) -> Result<(), StepUp> {
    session.require(AssuranceLevel::Aal1, Some(state.confirm_after))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Confirm {
    password: String,
}

/// Asks for the password again. Gives the session a new token, so that copies of the old one are
/// invalid.
pub(crate) async fn confirm(
    session: Session,
    State(state): State<AppState>,
    Form(form): Form<Confirm>,
) -> Done {
    let owner = owner(&session)?;
    if users::check(owner.as_str(), &form.password).is_none() {
        return Ok(to("/account", Notice::WrongPassword));
    }
    state.manager.record_authentication(&session, AuthMethod::Password).await?;
    Ok(to("/account", Notice::Confirmed))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Recovery {
    address: String,
}

pub(crate) async fn set_recovery(
    session: Session,
    State(state): State<AppState>,
    Form(form): Form<Recovery>,
) -> Done {
    let owner = owner(&session)?;
    // The form may have been open for a long time, so the page asks again.
    if confirmed(&session, &state).is_err() {
        return Ok(Redirect::to("/account"));
    }
    let address = form.address.trim();
    if !is_address(address) {
        return Ok(to("/account", Notice::NoAddress));
    }
    state.accounts.set_address(owner, address.to_owned());
    Ok(to("/account", Notice::Saved))
}

/// Returns true if the text has the form of a mail address. Only a delivered mail proves it.
fn is_address(text: &str) -> bool {
    let parts = text.rsplit_once('@').filter(|(name, host)| !name.is_empty() && host.contains('.'));
    parts.is_some() && text.len() <= LONGEST_ADDRESS && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_name_and_a_host() {
        for good in ["ann@example.com", "a+b@mail.example.org", "\"a@b\"@example.com"] {
            assert!(is_address(good), "{good}");
        }
        let long = format!("{}@example.com", "x".repeat(250));
        for bad in ["", "ann", "@example.com", "ann@", "ann@localhost", "a b@example.com", &long] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
