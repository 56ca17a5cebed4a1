//! How much of a client is kept.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use session_core::rules::{Facts, RequestClient, RuleSet, ValidationRule};
use session_core::{ClientInfo, LastClient, SessionId, SessionRecord, Timestamp};

/// How much of a client's address is kept with its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RecordIp {
    /// All of it. The default.
    #[default]
    Full,
    /// Its network: the first 24 bits of an IPv4 address, the first 48 of an IPv6 address.
    Network,
    /// Nothing.
    Nothing,
}

/// Whether the user agent is kept with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RecordUserAgent {
    /// It is. The default.
    #[default]
    Full,
    /// What was read from it (device, system, browser), but not the text.
    Parsed,
    /// Nothing of it.
    Nothing,
}

/// How much of a client is kept with its sessions: at sign-in, and with each use.
///
/// Rules see the whole request either way. But a rule that compares with the sign-in
/// ([`IpBinding`](session_core::rules::IpBinding),
/// [`UserAgentBinding`](session_core::rules::UserAgentBinding)) can only compare what was kept: a
/// manager whose rules need more than is kept is not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Recording {
    /// The address.
    pub ip: RecordIp,
    /// The user agent.
    pub user_agent: RecordUserAgent,
}

impl Recording {
    /// Sets how much of addresses and user agents is kept.
    #[must_use]
    pub const fn new(ip: RecordIp, user_agent: RecordUserAgent) -> Self {
        Self { ip, user_agent }
    }

    /// Whether rules answer as if everything was kept, for a client that stays the same and for one
    /// that does not. Asks each rule about made-up clients.
    pub(crate) fn suits(self, rules: &RuleSet, now: Timestamp) -> bool {
        let clients = [
            (
                IpAddr::from([192, 0, 2, 77]),
                "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
            ),
            (IpAddr::from([0x2001, 0xdb8, 1, 2, 3, 4, 5, 6]), "curl/8.16.0"),
            (IpAddr::from([198, 51, 100, 9]), "Mozilla/5.0 (iPhone) Version/26.0 Mobile/15E148 Safari/604.1"),
        ];
        let judge = |rule: &dyn ValidationRule, signed_in: &ClientInfo, (ip, user_agent): (IpAddr, &str)| {
            let mut record = SessionRecord::new(
                SessionId::derive("session-kit", b"check", None),
                now,
                now.saturating_add(Duration::from_secs(60)),
            );
            record.client = Arc::new(signed_in.clone());
            let client = RequestClient::new(Some(ip), Some(user_agent));
            rule.check(&Facts::new(&record, client, now))
        };
        rules.iter().all(|rule| {
            clients.iter().all(|(ip, user_agent)| {
                let full = ClientInfo::new(Some(*ip), Some(user_agent)).cleaned();
                let kept = self.client(full.clone());
                clients.iter().all(|seen| judge(rule, &full, *seen) == judge(rule, &kept, *seen))
            })
        })
    }

    /// What is kept of a client at sign-in.
    pub(crate) fn client(self, client: ClientInfo) -> ClientInfo {
        let mut kept = client.cleaned();
        kept.ip = self.address(kept.ip);
        if self.user_agent != RecordUserAgent::Full {
            kept.user_agent = None;
        }
        if self.user_agent == RecordUserAgent::Nothing {
            kept.device = session_core::Device::default();
        }
        if self.ip == RecordIp::Nothing {
            kept.geo = session_core::GeoLocation::default();
        }
        kept
    }

    /// What is kept of a use.
    pub(crate) fn last_client(self, client: LastClient) -> LastClient {
        let country = client.country_code.filter(|_| self.ip != RecordIp::Nothing);
        LastClient::new(self.address(client.ip), country)
    }

    fn address(self, ip: Option<IpAddr>) -> Option<IpAddr> {
        match self.ip {
            RecordIp::Full => ip,
            RecordIp::Network => {
                let ip = ip?;
                IpNet::new(ip, if ip.is_ipv4() { 24 } else { 48 }).ok().map(|network| network.network())
            }
            RecordIp::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_as_far_as_asked_for() {
        let kept = |ip: RecordIp, text: &str| {
            let client = LastClient::new(text.parse().ok(), Some("SE".into()));
            let kept = Recording::new(ip, RecordUserAgent::Full).last_client(client);
            (kept.ip.map(|ip| ip.to_string()), kept.country_code.is_some())
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(kept(RecordIp::Full, "192.0.2.77"), (text("192.0.2.77"), true));
        assert_eq!(kept(RecordIp::Network, "192.0.2.77"), (text("192.0.2.0"), true));
        assert_eq!(kept(RecordIp::Network, "2001:db8:1:2::3"), (text("2001:db8:1::"), true));
        assert_eq!(kept(RecordIp::Nothing, "192.0.2.77"), (None, false));
    }

    #[test]
    fn a_user_agent_is_kept_as_far_as_asked_for() {
        let mut client = ClientInfo::new(None, Some("Mozilla/5.0"));
        client.device.browser = Some("Firefox".to_owned());
        let kept = |user_agent| {
            let kept = Recording::new(RecordIp::Full, user_agent).client(client.clone());
            (kept.user_agent.is_some(), kept.device.browser.is_some())
        };
        assert_eq!(kept(RecordUserAgent::Full), (true, true));
        assert_eq!(kept(RecordUserAgent::Parsed), (false, true));
        assert_eq!(kept(RecordUserAgent::Nothing), (false, false));
    }
}
