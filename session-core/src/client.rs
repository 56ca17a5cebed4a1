//! The stored description of the client that signed in.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::end::wire_names;
use crate::error::{Error, Result};
use crate::limits::{MAX_TEXT, MAX_USER_AGENT};

/// The coarse kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// A crawler or another program.
    Bot,
    /// A desktop or laptop computer.
    Desktop,
    /// A phone.
    Mobile,
    /// Another kind that names itself.
    Other,
    /// A tablet.
    Tablet,
    /// A television or set-top box.
    Tv,
}

wire_names!(DeviceKind {
    Bot => "bot",
    Desktop => "desktop",
    Mobile => "mobile",
    Other => "other",
    Tablet => "tablet",
    Tv => "tv",
});

/// A country, as two upper-case letters (ISO 3166-1 alpha-2).
///
/// Proxies and databases also send values that are no country: `T1` for Tor, `XX`, `-` or nothing
/// for "unknown". [`parse`](Self::parse) treats them all as unknown, so that an unexpected value
/// never prevents a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    /// Parses the value of a proxy or a database, in upper or lower case. Returns `None` if it
    /// names no country.
    ///
    /// # Examples
    /// ```
    /// use session_core::CountryCode;
    ///
    /// assert_eq!(CountryCode::parse("se").unwrap().as_str(), "SE");
    /// assert!(["T1", "XX", "xx", "-", "", "SWE"].iter().all(|text| CountryCode::parse(text).is_none()));
    /// ```
    #[must_use]
    pub const fn parse(text: &str) -> Option<Self> {
        let [first, second] = text.as_bytes() else { return None };
        let (first, second) = (first.to_ascii_uppercase(), second.to_ascii_uppercase());
        // ISO 3166-1 reserves XX, and CLDR reserves ZZ, for "unknown".
        match (first, second) {
            (b'X', b'X') | (b'Z', b'Z') => None,
            (b'A'..=b'Z', b'A'..=b'Z') => Some(Self([first, second])),
            _ => None,
        }
    }

    /// Returns the two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Both bytes are ASCII letters.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The approximate location of an address. Advisory: never a reason to trust a request.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct GeoLocation {
    /// Two-letter country code, ISO 3166-1, upper case.
    pub country_code: Option<String>,
    /// Country name, at most 300 bytes.
    pub country: Option<String>,
    /// Region or state, at most 300 bytes.
    pub region: Option<String>,
    /// City, at most 300 bytes.
    pub city: Option<String>,
    /// Latitude and longitude in degrees.
    pub coordinates: Option<(f64, f64)>,
}

/// A user agent's description of its device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Device {
    /// The kind of device.
    pub kind: Option<DeviceKind>,
    /// The maker. All texts of a device are at most 300 bytes.
    pub brand: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The operating system's name.
    pub os: Option<String>,
    /// The operating system's version.
    pub os_version: Option<String>,
    /// The browser's name.
    pub browser: Option<String>,
    /// The browser's version.
    pub browser_version: Option<String>,
}

/// The client at sign-in. It does not change afterwards; [`LastClient`] does.
///
/// # Examples
/// ```
/// use session_core::ClientInfo;
///
/// let client = ClientInfo::new(Some("::ffff:192.0.2.7".parse()?), Some("curl/8.5\r\n"));
/// assert_eq!(client.ip.unwrap().to_string(), "192.0.2.7");
/// assert_eq!(client.user_agent.as_deref(), Some("curl/8.5"));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ClientInfo {
    /// The address in canonical form: an IPv4 address is never written as IPv6.
    pub ip: Option<IpAddr>,
    /// The user agent, at most 512 bytes, without control characters.
    pub user_agent: Option<String>,
    /// The device that a parser derived from the user agent.
    pub device: Device,
    /// The location of the address at sign-in.
    pub geo: GeoLocation,
}

impl ClientInfo {
    /// Describes a client by its address and its user agent; cleans the user agent and cuts it to
    /// its limit.
    #[must_use]
    pub fn new(ip: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        let user_agent = user_agent.map(clean_user_agent).filter(|text| !text.is_empty());
        Self { ip: ip.map(|ip| ip.to_canonical()), user_agent, ..Self::default() }
    }

    /// Returns a description that a store can keep, whatever the fields contain: texts without NUL
    /// and cut to their limits, a canonical address, a country code only if it names a country,
    /// coordinates only if they are degrees.
    ///
    /// The manager cleans every client, because the values come from requests and databases, and
    /// none of them is a reason to refuse a sign-in.
    #[must_use]
    pub fn cleaned(mut self) -> Self {
        let Device { brand, model, os, os_version, browser, browser_version, .. } = &mut self.device;
        let GeoLocation { country_code, country, region, city, coordinates } = &mut self.geo;
        self.ip = self.ip.map(|ip| ip.to_canonical());
        self.user_agent = self.user_agent.as_deref().map(clean_user_agent).filter(|text| !text.is_empty());
        for text in [brand, model, os, os_version, browser, browser_version, country, region, city] {
            clean_text(text);
        }
        let known = country_code.as_deref().and_then(CountryCode::parse);
        *country_code = known.map(|code| code.as_str().to_owned());
        *coordinates = coordinates.filter(|place| are_degrees(*place));
        self
    }

    /// Checks that every store can keep the description.
    pub(crate) fn check(&self) -> Result<()> {
        let Device { brand, model, os, os_version, browser, browser_version, .. } = &self.device;
        let GeoLocation { country_code, country, region, city, coordinates } = &self.geo;
        check_text(self.user_agent.as_deref(), MAX_USER_AGENT)?;
        for text in [brand, model, os, os_version, browser, browser_version, country, region, city] {
            check_text(text.as_deref(), MAX_TEXT)?;
        }
        check_country(country_code.as_deref())?;
        if self.ip.is_some_and(|ip| ip != ip.to_canonical()) {
            return Err(Error::invalid("check", "an IPv4 address is not written as IPv6"));
        }
        if coordinates.is_some_and(|place| !are_degrees(place)) {
            return Err(Error::invalid("check", "coordinates are degrees"));
        }
        Ok(())
    }
}

fn are_degrees((lat, lon): (f64, f64)) -> bool {
    (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon)
}

fn clean_text(text: &mut Option<String>) {
    if let Some(text) = text {
        text.retain(|c| c != '\0');
        text.truncate(text.floor_char_boundary(MAX_TEXT));
    }
}

/// Cuts at a character boundary, replaces control characters by spaces and trims white space at
/// both ends.
fn clean_user_agent(text: &str) -> String {
    let head = &text[..text.floor_char_boundary(MAX_USER_AGENT)];
    head.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

pub(crate) fn check_text(text: Option<&str>, max: usize) -> Result<()> {
    match text {
        Some(text) if text.len() > max => Err(Error::invalid("check", "a text is longer than its limit")),
        Some(text) if text.contains('\0') => Err(Error::invalid("check", "a text contains NUL")),
        _ => Ok(()),
    }
}

fn check_country(code: Option<&str>) -> Result<()> {
    match code.map(str::as_bytes) {
        None | Some([b'A'..=b'Z', b'A'..=b'Z']) => Ok(()),
        Some(_) => Err(Error::invalid("check", "a country code is two upper-case letters")),
    }
}

/// The client of the latest use of a session. Changes together with `last_seen_at`, never to an
/// earlier use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LastClient {
    /// The address in canonical form.
    pub ip: Option<IpAddr>,
    /// Two-letter country code.
    pub country_code: Option<Arc<str>>,
}

impl LastClient {
    /// Describes the origin of a request.
    #[must_use]
    pub fn new(ip: Option<IpAddr>, country_code: Option<Arc<str>>) -> Self {
        Self { ip: ip.map(|ip| ip.to_canonical()), country_code }
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_country(self.country_code.as_deref())
    }
}

impl From<&ClientInfo> for LastClient {
    fn from(client: &ClientInfo) -> Self {
        Self::new(client.ip, client.geo.country_code.as_deref().map(Arc::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_user_agents_are_cut_at_a_character() {
        let client = ClientInfo::new(None, Some(&"é".repeat(400)));
        let stored = client.user_agent.as_deref().unwrap();
        assert_eq!(stored.len(), 512);
        assert!(client.check().is_ok());
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let client = ClientInfo::new(None, Some("a\u{1b}[31mb\0c\u{9b}"));
        assert_eq!(client.user_agent.as_deref(), Some("a [31mb c"));
    }

    #[test]
    fn fields_that_cannot_be_stored_are_cleaned() {
        let mut client = ClientInfo {
            ip: "::ffff:1.2.3.4".parse().ok(),
            user_agent: Some("a".repeat(513)),
            ..ClientInfo::default()
        };
        client.device.model = Some("m\0odel".to_owned());
        client.geo.city = Some("é".repeat(400));
        client.geo.country_code = Some("T1".to_owned());
        client.geo.coordinates = Some((f64::NAN, 0.0));
        let cleaned = client.cleaned();
        assert!(cleaned.check().is_ok());
        assert_eq!(cleaned.device.model.as_deref(), Some("model"));
        assert_eq!(cleaned.geo.city.as_deref().map(str::len), Some(300));
        assert_eq!((&cleaned.geo.country_code, cleaned.geo.coordinates), (&None, None));
        let mut swedish = ClientInfo::default();
        swedish.geo.country_code = Some("se".to_owned());
        assert_eq!(swedish.cleaned().geo.country_code.as_deref(), Some("SE"));
    }

    #[test]
    fn fields_that_cannot_be_stored_are_refused() {
        let is_refused = |change: fn(&mut ClientInfo)| {
            let mut client = ClientInfo::default();
            change(&mut client);
            client.check().is_err()
        };
        assert!(is_refused(|client| client.user_agent = Some("a".repeat(513))));
        assert!(is_refused(|client| client.geo.city = Some("a\0".to_owned())));
        assert!(is_refused(|client| client.geo.country_code = Some("de".to_owned())));
        assert!(is_refused(|client| client.geo.coordinates = Some((f64::NAN, 0.0))));
        assert!(is_refused(|client| client.ip = "::ffff:1.2.3.4".parse().ok()));
    }
}
