//! Conditions on requests in addition to the right token.
//!
//! A [`ValidationRule`] is a pure function of [`Facts`]: the record, the description of the
//! request's sender, and the time. It allows, asks for a [challenge](Verdict::Challenge) (the
//! session stays valid, but the application should verify the user), or denies. The first denial
//! wins, then the first challenge.
//!
//! The default set is [`Status`] and [`NotExpired`] and nothing else, so that no user is signed out
//! because a phone moved from one network to another. Rules that bind a session to its environment
//! are opt-in.
//!
//! ```
//! use session_core::rules::{IpBinding, Outcome, RuleSet, UserAgentBinding};
//!
//! let rules = RuleSet::default()
//!     .with(UserAgentBinding::new(Outcome::Deny))
//!     .with(IpBinding::prefix(24, 48, Outcome::Challenge)?);
//! # Ok::<(), session_core::Error>(())
//! ```

mod assurance;
mod binding;
mod place;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use assurance::RequiredAssurance;
pub use binding::{IpBinding, UserAgentBinding};
pub use place::{Countries, Networks};

use crate::auth::AssuranceLevel;
use crate::client::CountryCode;
use crate::end::wire_names;
use crate::expiry::Expiry;
use crate::record::SessionRecord;
use crate::time::Timestamp;

/// The sender of a request. Borrowed, so that checking it copies nothing.
///
/// # Security
/// The address must come from a trusted source (the connection, or a proxy that you operate), never
/// from a header that a client can send.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct RequestClient<'a> {
    /// The sender's address.
    pub ip: Option<IpAddr>,
    /// The user agent, as sent.
    pub user_agent: Option<&'a str>,
    /// The country of the address, if it is known.
    pub country_code: Option<CountryCode>,
}

impl<'a> RequestClient<'a> {
    /// Describes a sender. An IPv4 address written as IPv6 becomes IPv4.
    #[must_use]
    pub fn new(ip: Option<IpAddr>, user_agent: Option<&'a str>) -> Self {
        Self { ip: ip.map(|ip| ip.to_canonical()), user_agent, country_code: None }
    }

    /// Adds the country as named by a proxy or a database. A value that is no country (`T1`, `XX`,
    /// `-`) counts as unknown.
    #[must_use]
    pub fn with_country(mut self, code: Option<&str>) -> Self {
        self.country_code = code.and_then(CountryCode::parse);
        self
    }
}

/// The input of a rule.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Facts<'a> {
    /// The session.
    pub record: &'a SessionRecord,
    /// The sender of this request.
    pub client: RequestClient<'a>,
    /// The time of this request.
    pub now: Timestamp,
    /// How long a further factor counts; with `None`, it counts as long as the session lives.
    pub step_up_lifetime: Option<Duration>,
}

impl<'a> Facts<'a> {
    /// Collects the facts of a request.
    #[must_use]
    pub const fn new(record: &'a SessionRecord, client: RequestClient<'a>, now: Timestamp) -> Self {
        Self { record, client, now, step_up_lifetime: None }
    }

    /// Sets how long a further factor counts.
    #[must_use]
    pub const fn with_step_up_lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.step_up_lifetime = lifetime;
        self
    }

    /// Returns the session's level at the time of the request, see [`SessionRecord::assurance_at`].
    #[must_use]
    pub fn assurance(&self) -> AssuranceLevel {
        self.record.assurance_at(self.now, self.step_up_lifetime)
    }
}

/// The reason of a denial or a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The session's assurance level is too low.
    AssuranceTooLow,
    /// The last authentication is too long ago.
    AuthenticationTooOld,
    /// The country is not allowed.
    CountryRefused,
    /// A rule of the application.
    Custom,
    /// The session ended.
    Ended,
    /// The session is past a deadline.
    Expired,
    /// The address differs from that of the sign-in.
    IpChanged,
    /// The address is in a network that is not allowed.
    NetworkRefused,
    /// The browser or operating system differs from that of the sign-in.
    UserAgentChanged,
}

wire_names!(Reason {
    AssuranceTooLow => "assurance_too_low",
    AuthenticationTooOld => "authentication_too_old",
    CountryRefused => "country_refused",
    Custom => "custom",
    Ended => "ended",
    Expired => "expired",
    IpChanged => "ip_changed",
    NetworkRefused => "network_refused",
    UserAgentChanged => "user_agent_changed",
});

/// The verdict of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The request is allowed.
    Allow,
    /// The session stays valid, but the application should verify the user.
    Challenge(Reason),
    /// The request is refused. The session does not end.
    Deny(Reason),
}

/// The action of a configurable rule that is not satisfied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// [`Verdict::Challenge`].
    Challenge,
    /// [`Verdict::Deny`].
    Deny,
}

impl Outcome {
    const fn verdict(self, reason: Reason) -> Verdict {
        match self {
            Self::Challenge => Verdict::Challenge(reason),
            Self::Deny => Verdict::Deny(reason),
        }
    }

    const fn unless(self, satisfied: bool, reason: Reason) -> Verdict {
        if satisfied { Verdict::Allow } else { self.verdict(reason) }
    }
}

/// A condition on requests.
///
/// # Contract
/// Pure and synchronous: the same facts give the same verdict, without I/O, without a clock,
/// without panics. Rules run on every request.
pub trait ValidationRule: fmt::Debug + Send + Sync + 'static {
    /// Returns the rule's stable name, for logs and metrics.
    fn name(&self) -> &'static str;

    /// Checks a request.
    fn check(&self, facts: &Facts<'_>) -> Verdict;
}

/// Denies sessions that have ended.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs, reason = "used as a value")]
pub struct Status;

impl ValidationRule for Status {
    fn name(&self) -> &'static str {
        "status"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        Outcome::Deny.unless(facts.record.ended().is_none(), Reason::Ended)
    }
}

/// Denies sessions that are past their idle or absolute end.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs, reason = "used as a value")]
pub struct NotExpired;

impl ValidationRule for NotExpired {
    fn name(&self) -> &'static str {
        "expiry"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        Outcome::Deny.unless(matches!(facts.record.expiry(facts.now), Expiry::Live(_)), Reason::Expired)
    }
}

/// An ordered list of rules.
#[derive(Debug, Clone)]
pub struct RuleSet(Vec<Arc<dyn ValidationRule>>);

impl Default for RuleSet {
    /// [`Status`] and [`NotExpired`].
    fn default() -> Self {
        Self(vec![Arc::new(Status), Arc::new(NotExpired)])
    }
}

/// The verdict of a [`RuleSet`], with the rule that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The rule that gave the verdict, `None` if all rules allow.
    pub rule: Option<&'static str>,
}

impl RuleSet {
    /// Creates a set without rules, for callers that check status and expiry themselves, as the
    /// manager does.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds a rule at the end.
    #[must_use]
    pub fn with(mut self, rule: impl ValidationRule) -> Self {
        self.0.push(Arc::new(rule));
        self
    }

    /// Returns the rules in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn ValidationRule> {
        self.0.iter().map(|rule| &**rule)
    }

    /// Returns the first denial, otherwise the first challenge, otherwise [`Verdict::Allow`].
    #[must_use]
    #[inline]
    pub fn judge(&self, facts: &Facts<'_>) -> Judgement {
        let mut judgement = Judgement { verdict: Verdict::Allow, rule: None };
        for rule in &self.0 {
            let verdict = rule.check(facts);
            match verdict {
                Verdict::Deny(_) => return Judgement { verdict, rule: Some(rule.name()) },
                Verdict::Challenge(_) if judgement.rule.is_none() => {
                    judgement = Judgement { verdict, rule: Some(rule.name()) };
                }
                Verdict::Challenge(_) | Verdict::Allow => {}
            }
        }
        judgement
    }
}
