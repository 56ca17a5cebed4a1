//! Rules about the origin of requests.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Facts, Outcome, Reason, ValidationRule, Verdict};
use crate::client::CountryCode;
use crate::error::{Error, Result};

/// Allows or denies networks.
///
/// A denied network wins over an allowed one. With a list of allowed networks, all other addresses
/// are refused, including an unknown address; without such a list, an unknown address is allowed.
///
/// # Examples
/// ```
/// use session_core::rules::{Networks, Outcome};
///
/// let office_only = Networks::new(Outcome::Deny).allow("10.0.0.0/8".parse()?).deny("10.9.0.0/16".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Networks {
    allowed: Vec<IpNet>,
    denied: Vec<IpNet>,
    outcome: Outcome,
}

impl Networks {
    /// Creates a rule that allows everything.
    #[must_use]
    pub const fn new(outcome: Outcome) -> Self {
        Self { allowed: Vec::new(), denied: Vec::new(), outcome }
    }

    /// Allows a network.
    #[must_use]
    pub fn allow(mut self, network: IpNet) -> Self {
        self.allowed.push(network);
        self
    }

    /// Denies a network.
    #[must_use]
    pub fn deny(mut self, network: IpNet) -> Self {
        self.denied.push(network);
        self
    }
}

impl ValidationRule for Networks {
    fn name(&self) -> &'static str {
        "networks"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        let within = |networks: &[IpNet]| {
            facts
                .client
                .ip
                .is_some_and(|ip| networks.iter().any(|network| network.contains(&ip.to_canonical())))
        };
        let satisfied = (self.allowed.is_empty() || within(&self.allowed)) && !within(&self.denied);
        self.outcome.unless(satisfied, Reason::NetworkRefused)
    }
}

/// Allows or denies countries, by their two-letter codes (ISO 3166-1).
///
/// A denied country wins over an allowed one. With a list of allowed countries, all other countries
/// are refused, including an unknown country; without such a list, an unknown country is allowed.
/// Geolocation is advisory and often wrong: prefer [`Outcome::Challenge`].
#[derive(Debug, Clone)]
pub struct Countries {
    allowed: BTreeSet<CountryCode>,
    denied: BTreeSet<CountryCode>,
    outcome: Outcome,
}

impl Countries {
    /// Creates a rule that allows everything.
    #[must_use]
    pub const fn new(outcome: Outcome) -> Self {
        Self { allowed: BTreeSet::new(), denied: BTreeSet::new(), outcome }
    }

    /// Allows a country.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) unless the code is two letters that can name a
    /// country.
    pub fn allow(mut self, code: &str) -> Result<Self> {
        self.allowed.insert(country_code(code)?);
        Ok(self)
    }

    /// Denies a country.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) unless the code is two letters that can name a
    /// country.
    pub fn deny(mut self, code: &str) -> Result<Self> {
        self.denied.insert(country_code(code)?);
        Ok(self)
    }
}

fn country_code(code: &str) -> Result<CountryCode> {
    CountryCode::parse(code).ok_or_else(|| Error::invalid("countries", "a country code is two letters"))
}

impl ValidationRule for Countries {
    fn name(&self) -> &'static str {
        "countries"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        let within = |codes: &BTreeSet<CountryCode>| {
            facts.client.country_code.is_some_and(|code| codes.contains(&code))
        };
        let satisfied = (self.allowed.is_empty() || within(&self.allowed)) && !within(&self.denied);
        self.outcome.unless(satisfied, Reason::CountryRefused)
    }
}
