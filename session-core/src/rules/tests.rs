use std::time::Duration;

use super::*;
use crate::{
    Actor, AssuranceLevel, AuthEvent, AuthMethod, ClientInfo, EndReason, Ended, SessionId, SystemRandom,
    Timestamp,
};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
const NEWER_FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0.2";
const CURL: &str = "curl/8.5.0";

fn record() -> SessionRecord {
    let id = SessionId::mint(NOW, None, &SystemRandom).unwrap();
    let mut record = SessionRecord::new(id, NOW, NOW.saturating_add(Duration::from_secs(3_600)));
    record.client = Arc::new(ClientInfo::new("192.0.2.10".parse().ok(), Some(FIREFOX)));
    record
}

fn check(rule: &dyn ValidationRule, ip: &str, user_agent: Option<&str>) -> Verdict {
    let record = record();
    rule.check(&Facts::new(&record, RequestClient::new(ip.parse().ok(), user_agent), NOW))
}

#[test]
fn exact_binding_requires_the_same_address() {
    let rule = IpBinding::exact(Outcome::Deny);
    assert_eq!(check(&rule, "192.0.2.10", None), Verdict::Allow);
    assert_eq!(check(&rule, "::ffff:192.0.2.10", None), Verdict::Allow);
    assert_eq!(check(&rule, "192.0.2.11", None), Verdict::Deny(Reason::IpChanged));
    assert_eq!(check(&rule, "unknown", None), Verdict::Deny(Reason::IpChanged));
    assert_eq!(check(&rule, "2001:db8::1", None), Verdict::Deny(Reason::IpChanged));
}

#[test]
fn prefix_binding_allows_the_same_network() {
    let rule = IpBinding::prefix(24, 48, Outcome::Challenge).unwrap();
    assert_eq!(check(&rule, "192.0.2.254", None), Verdict::Allow);
    assert_eq!(check(&rule, "192.0.3.10", None), Verdict::Challenge(Reason::IpChanged));
    assert!(IpBinding::prefix(0, 48, Outcome::Deny).is_err());
    assert!(IpBinding::prefix(33, 48, Outcome::Deny).is_err());
    assert!(IpBinding::prefix(24, 129, Outcome::Deny).is_err());
}

#[test]
fn a_session_without_address_or_agent_is_not_bound() {
    let mut record = record();
    record.client = Arc::default();
    let facts = Facts::new(&record, RequestClient::new("10.0.0.1".parse().ok(), Some(CURL)), NOW);
    assert_eq!(IpBinding::exact(Outcome::Deny).check(&facts), Verdict::Allow);
    assert_eq!(UserAgentBinding::new(Outcome::Deny).check(&facts), Verdict::Allow);
}

#[test]
fn a_browser_update_is_the_same_family_and_another_program_is_not() {
    let rule = UserAgentBinding::new(Outcome::Deny);
    assert_eq!(check(&rule, "", Some(FIREFOX)), Verdict::Allow);
    assert_eq!(check(&rule, "", Some(NEWER_FIREFOX)), Verdict::Allow);
    assert_eq!(check(&rule, "", Some(CURL)), Verdict::Deny(Reason::UserAgentChanged));
    assert_eq!(check(&rule, "", None), Verdict::Deny(Reason::UserAgentChanged));
}

#[test]
fn denied_networks_win_over_allowed_ones() {
    let rule = Networks::new(Outcome::Deny)
        .allow("10.0.0.0/8".parse().unwrap())
        .deny("10.9.0.0/16".parse().unwrap());
    assert_eq!(check(&rule, "10.1.1.1", None), Verdict::Allow);
    assert_eq!(check(&rule, "::ffff:10.1.1.1", None), Verdict::Allow);
    assert_eq!(check(&rule, "10.9.1.1", None), Verdict::Deny(Reason::NetworkRefused));
    assert_eq!(check(&rule, "unknown", None), Verdict::Deny(Reason::NetworkRefused));
    let only_denied = Networks::new(Outcome::Deny).deny("10.9.0.0/16".parse().unwrap());
    assert_eq!(check(&only_denied, "unknown", None), Verdict::Allow);
}

#[test]
fn countries_are_compared_by_code() {
    let record = record();
    let check = |rule: &Countries, code| {
        rule.check(&Facts::new(&record, RequestClient::default().with_country(code), NOW))
    };
    let allow = Countries::new(Outcome::Challenge).allow("de").unwrap();
    assert_eq!(check(&allow, Some("DE")), Verdict::Allow);
    assert_eq!(check(&allow, Some("FR")), Verdict::Challenge(Reason::CountryRefused));
    assert_eq!(check(&allow, None), Verdict::Challenge(Reason::CountryRefused));
    let deny = Countries::new(Outcome::Deny).deny("KP").unwrap();
    assert_eq!(check(&deny, None), Verdict::Allow);
    assert_eq!(check(&deny, Some("KP")), Verdict::Deny(Reason::CountryRefused));
    assert!(Countries::new(Outcome::Deny).allow("Germany").is_err());
}

#[test]
fn assurance_and_age_have_different_reasons() {
    let mut record = record();
    let rule = RequiredAssurance::new(AssuranceLevel::Aal1, Outcome::Challenge)
        .with_max_age(Duration::from_secs(10));
    let check = |record: &SessionRecord, after| {
        let now = NOW.saturating_add(Duration::from_millis(after));
        rule.check(&Facts::new(record, RequestClient::default(), now))
    };
    assert_eq!(check(&record, 0), Verdict::Challenge(Reason::AssuranceTooLow));
    record.push_auth(AuthEvent::new(AuthMethod::Password, NOW));
    assert_eq!(check(&record, 9_999), Verdict::Allow);
    assert_eq!(check(&record, 10_000), Verdict::Challenge(Reason::AuthenticationTooOld));
}

#[test]
fn the_default_set_denies_ended_and_expired_sessions_only() {
    let rules = RuleSet::default();
    let live = record();
    let elsewhere = RequestClient::new("203.0.113.9".parse().ok(), Some(CURL));
    assert_eq!(rules.judge(&Facts::new(&live, elsewhere, NOW)).verdict, Verdict::Allow);
    let late = rules.judge(&Facts::new(&live, elsewhere, live.expires_at));
    assert_eq!((late.verdict, late.rule), (Verdict::Deny(Reason::Expired), Some("expiry")));
    let ended = record().into_ended(Ended::new(EndReason::LoggedOut, NOW, Actor::System));
    assert_eq!(rules.judge(&Facts::new(&ended, elsewhere, NOW)).verdict, Verdict::Deny(Reason::Ended));
}

#[test]
fn a_denial_wins_over_an_earlier_challenge() {
    let record = record();
    let rules = RuleSet::default()
        .with(IpBinding::exact(Outcome::Challenge))
        .with(UserAgentBinding::new(Outcome::Deny));
    let judge = |user_agent| {
        let client = RequestClient::new("203.0.113.9".parse().ok(), Some(user_agent));
        rules.judge(&Facts::new(&record, client, NOW))
    };
    assert_eq!(judge(FIREFOX).verdict, Verdict::Challenge(Reason::IpChanged));
    assert_eq!(judge(CURL).rule, Some("user_agent_binding"));
}
