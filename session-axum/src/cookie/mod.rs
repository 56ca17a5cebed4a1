//! The session cookie: its name and attributes, validated once.

mod grammar;

use std::borrow::Cow;
use std::time::Duration;

use cookie::Cookie;
use cookie::time::Duration as MaxAge;
use http::HeaderValue;
use session_manager::core::limits::MAX_LIFETIME;

pub use grammar::CookieError;

/// When a browser sends the cookie with requests that come from another site.
///
/// [RFC 6265bis section
/// 5.6.7](https://www.ietf.org/archive/id/draft-ietf-httpbis-rfc6265bis-22.html#section-5.6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SameSite {
    /// Only with navigations to the site. The default: a user who follows a link from another site
    /// is signed in, and forms on other sites do not send the cookie.
    #[default]
    Lax,
    /// Always. Requires `Secure`, and leaves [`SameOrigin`](crate::SameOrigin) as the only defence
    /// against forged requests.
    None,
    /// Never.
    Strict,
}

/// Which sessions outlive the browser window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Persistence {
    /// Every cookie has a `Max-Age`: the rest of the session's absolute lifetime. The default.
    #[default]
    Always,
    /// Only remembered sessions have a `Max-Age`. The browser deletes the other cookies when it
    /// closes, as [NIST SP 800-63B-4 section 5.1](https://pages.nist.gov/800-63-4/sp800-63b.html)
    /// recommends.
    Remembered,
}

/// The cookie that carries the session token in a browser.
///
/// The default is the strictest cookie that works for a site on one host:
///
/// | attribute | default | why |
/// |---|---|---|
/// | name | `__Host-session` | the browser refuses it unless it is `Secure`, has no `Domain` and `Path=/`: no sibling host can plant one |
/// | `HttpOnly` | always | no script can read it; there is no setting |
/// | `Secure` | always | except in [`insecure_dev`](Self::insecure_dev) |
/// | `SameSite` | `Lax` | forms on other sites do not send it |
/// | `Max-Age` | the rest of the session's absolute lifetime | [`Persistence`] |
/// | `Partitioned` | off | for widgets embedded in other sites |
///
/// Browsers accept every value of this type: [`SessionCookieBuilder::build`] refuses anything else.
///
/// # Examples
/// ```
/// use session_axum::{CookieError, SameSite, SessionCookie};
///
/// let strict = SessionCookie::builder().with_same_site(SameSite::Strict).build()?;
/// assert_eq!(strict.name(), "__Host-session");
///
/// let shared = SessionCookie::builder().with_domain("example.com").build();
/// assert_eq!(shared.unwrap_err(), CookieError::HostPrefixWithDomain);
/// let builder = SessionCookie::builder().with_name("__Secure-session");
/// let shared = builder.with_domain("example.com").build()?;
/// # Ok::<(), CookieError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCookie {
    name: Cow<'static, str>,
    path: Cow<'static, str>,
    domain: Option<String>,
    same_site: SameSite,
    secure: bool,
    partitioned: bool,
    persistence: Persistence,
}

impl Default for SessionCookie {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("__Host-session"),
            path: Cow::Borrowed("/"),
            domain: None,
            same_site: SameSite::Lax,
            secure: true,
            partitioned: false,
            persistence: Persistence::Always,
        }
    }
}

impl SessionCookie {
    /// Returns a builder that begins with the default cookie.
    #[must_use]
    pub fn builder() -> SessionCookieBuilder {
        SessionCookieBuilder(Self::default())
    }

    /// Returns a cookie for plain `http://` on localhost during development: named `session`, not
    /// `Secure`.
    ///
    /// # Security
    /// Anyone who sees the traffic can copy the cookie, and any page on a sibling host can plant
    /// one. Do not use it in production.
    #[must_use]
    pub fn insecure_dev() -> Self {
        Self { name: Cow::Borrowed("session"), secure: false, ..Self::default() }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns true if browsers send the cookie over https only.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns the header that sets the cookie to a token whose session has at most `remaining` to
    /// live.
    pub(crate) fn set(&self, token: &str, remaining: Duration, remembered: bool) -> Option<HeaderValue> {
        let persists = remembered || self.persistence == Persistence::Always;
        // RFC 6265bis section 5.5 caps the lifetime at 400 days; zero would remove the cookie.
        // Rounded up: the server enforces the end, and the browser should not drop the cookie
        // earlier.
        let seconds = remaining.clamp(Duration::from_secs(1), MAX_LIFETIME).as_millis().div_ceil(1_000);
        self.header(token, persists.then_some(seconds))
    }

    /// Returns the header that removes the cookie. The attributes must be the same, or the browser
    /// keeps the old cookie too.
    pub(crate) fn removal(&self) -> Option<HeaderValue> {
        self.header("", Some(0))
    }

    fn header(&self, value: &str, max_age: Option<u128>) -> Option<HeaderValue> {
        let mut cookie = Cookie::build((self.name(), value))
            .path(self.path.as_ref())
            .http_only(true)
            .secure(self.secure)
            .same_site(match self.same_site {
                SameSite::Lax => cookie::SameSite::Lax,
                SameSite::None => cookie::SameSite::None,
                SameSite::Strict => cookie::SameSite::Strict,
            })
            .partitioned(self.partitioned);
        if let Some(domain) = &self.domain {
            cookie = cookie.domain(domain);
        }
        if let Some(seconds) = max_age {
            cookie = cookie.max_age(MaxAge::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)));
        }
        let mut header = HeaderValue::try_from(cookie.to_string()).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// Returns true if a `Set-Cookie` header sets this cookie.
    pub(crate) fn is_set_by(&self, header: &HeaderValue) -> bool {
        let pair = header.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii() == self.name.as_bytes()
    }
}

/// Builder of a [`SessionCookie`]: changes the default cookie and validates the result.
#[derive(Debug, Clone)]
#[must_use]
pub struct SessionCookieBuilder(SessionCookie);

impl SessionCookieBuilder {
    /// Sets the name. `__Host-session` by default.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.0.name = Cow::Owned(name.into());
        self
    }

    /// Sets the path below which the browser sends the cookie. `/` by default.
    ///
    /// # Security
    /// A path is no boundary: pages on other paths of the same host can still access the cookie.
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.0.path = Cow::Owned(path.into());
        self
    }

    /// Sends the cookie to a domain and all hosts below it. The name must not begin with `__Host-`;
    /// use `__Secure-`.
    ///
    /// # Security
    /// Every host below the domain can then read and replace the session.
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.0.domain = Some(domain.into());
        self
    }

    /// Sets when browsers send the cookie with requests from other sites. [`SameSite::Lax`] by
    /// default.
    pub const fn with_same_site(mut self, same_site: SameSite) -> Self {
        self.0.same_site = same_site;
        self
    }

    /// Sets which sessions outlive the browser window. [`Persistence::Always`] by default.
    pub const fn with_persistence(mut self, persistence: Persistence) -> Self {
        self.0.persistence = persistence;
        self
    }

    /// Gives each site that embeds this one a cookie of its own
    /// ([CHIPS](https://github.com/privacycg/CHIPS)). Off by default; implies `Secure` and
    /// `SameSite=None`.
    pub const fn with_partitioned(mut self, partitioned: bool) -> Self {
        self.0.partitioned = partitioned;
        self
    }

    /// Removes `Secure`, so that browsers send the cookie over plain http too.
    ///
    /// # Security
    /// As for [`SessionCookie::insecure_dev`], which also has a name that browsers accept without
    /// `Secure`.
    pub const fn danger_without_secure(mut self) -> Self {
        self.0.secure = false;
        self
    }

    /// Validates the cookie.
    ///
    /// # Errors
    /// [`CookieError`] names the first attribute that a browser would refuse or ignore.
    pub fn build(self) -> Result<SessionCookie, CookieError> {
        let mut cookie = self.0;
        if cookie.partitioned {
            cookie.same_site = SameSite::None;
        }
        grammar::check_name(&cookie.name)?;
        grammar::check_path(&cookie.path)?;
        cookie.domain.as_deref().map_or(Ok(()), grammar::check_domain)?;
        grammar::check_prefix(&cookie)?;
        if !cookie.secure && cookie.partitioned {
            return Err(CookieError::PartitionedWithoutSecure);
        }
        if !cookie.secure && cookie.same_site == SameSite::None {
            return Err(CookieError::SameSiteNoneWithoutSecure);
        }
        Ok(cookie)
    }
}

#[cfg(test)]
mod tests;
