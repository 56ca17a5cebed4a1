//! Rules about how and when the user authenticated.

use std::time::Duration;

use super::{Facts, Outcome, Reason, ValidationRule, Verdict};
use crate::auth::AssuranceLevel;

/// Requires an assurance level, and optionally a recent authentication.
///
/// The age counts from the last authentication, not from creation, activity or refresh.
#[derive(Debug, Clone, Copy)]
pub struct RequiredAssurance {
    level: AssuranceLevel,
    max_age: Option<Duration>,
    outcome: Outcome,
}

impl RequiredAssurance {
    /// Requires at least a level.
    #[must_use]
    pub const fn new(level: AssuranceLevel, outcome: Outcome) -> Self {
        Self { level, max_age: None, outcome }
    }

    /// Also requires that the last authentication is younger than `max_age`.
    #[must_use]
    pub const fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }
}

impl ValidationRule for RequiredAssurance {
    fn name(&self) -> &'static str {
        "required_assurance"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        if facts.assurance() < self.level {
            return self.outcome.verdict(Reason::AssuranceTooLow);
        }
        let age = facts.now.since(facts.record.authenticated_at);
        self.outcome.unless(self.max_age.is_none_or(|max| age < max), Reason::AuthenticationTooOld)
    }
}
