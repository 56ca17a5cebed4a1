//! Rules that bind a session to the client that signed in.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Facts, Outcome, Reason, ValidationRule, Verdict};
use crate::error::{Error, Result};

/// Binds a session to the address of its sign-in: exactly, or to the network around it.
///
/// Addresses change for legitimate reasons (phones, offices with several exits, privacy relays), so
/// a denial refuses single requests of such users. [`Outcome::Challenge`] with a prefix is the
/// useful setting; the default is no such rule.
///
/// A request without a known address does not satisfy the rule; a session without one is not bound.
#[derive(Debug, Clone, Copy)]
pub struct IpBinding {
    prefix_v4: u8,
    prefix_v6: u8,
    outcome: Outcome,
}

impl IpBinding {
    /// Requires the same address.
    #[must_use]
    pub const fn exact(outcome: Outcome) -> Self {
        Self { prefix_v4: 32, prefix_v6: 128, outcome }
    }

    /// Requires an address in the same network: `prefix(24, 48, ..)` is one office or one home.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a prefix of zero, which binds nothing, or one
    /// longer than an address.
    pub fn prefix(v4: u8, v6: u8, outcome: Outcome) -> Result<Self> {
        match (v4, v6) {
            (1..=32, 1..=128) => Ok(Self { prefix_v4: v4, prefix_v6: v6, outcome }),
            _ => Err(Error::invalid("ip binding", "a prefix is 1..=32 bits for IPv4 and 1..=128 for IPv6")),
        }
    }

    fn same_network(&self, signed_in: IpAddr, seen: IpAddr) -> bool {
        let prefix = if signed_in.is_ipv4() { self.prefix_v4 } else { self.prefix_v6 };
        IpNet::new(signed_in, prefix).is_ok_and(|network| network.contains(&seen.to_canonical()))
    }
}

impl ValidationRule for IpBinding {
    fn name(&self) -> &'static str {
        "ip_binding"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        let satisfied = match (facts.record.client.ip, facts.client.ip) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(signed_in), Some(seen)) => self.same_network(signed_in, seen),
        };
        self.outcome.unless(satisfied, Reason::IpChanged)
    }
}

/// Binds a session to the browser and operating system of its sign-in, regardless of their
/// versions.
///
/// Compares the user agents without their version numbers, so that an update does not sign the user
/// out, and a token that moved to another browser is detected. A request without a user agent does
/// not satisfy the rule; a session without one is not bound.
#[derive(Debug, Clone, Copy)]
pub struct UserAgentBinding {
    outcome: Outcome,
}

impl UserAgentBinding {
    /// Creates the rule.
    #[must_use]
    pub const fn new(outcome: Outcome) -> Self {
        Self { outcome }
    }
}

impl ValidationRule for UserAgentBinding {
    fn name(&self) -> &'static str {
        "user_agent_binding"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        let satisfied = match (facts.record.client.user_agent.as_deref(), facts.client.user_agent) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(signed_in), Some(seen)) => family(signed_in).eq(family(seen)),
        };
        self.outcome.unless(satisfied, Reason::UserAgentChanged)
    }
}

/// Returns the characters of a user agent that do not depend on versions. Stops at the stored
/// length.
fn family(user_agent: &str) -> impl Iterator<Item = char> + '_ {
    let end = user_agent.floor_char_boundary(crate::limits::MAX_USER_AGENT / 2);
    user_agent[..end]
        .chars()
        .filter(|c| !c.is_ascii_digit() && !matches!(c, '.' | '_' | ' ') && !c.is_control())
}
