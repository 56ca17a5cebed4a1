//! The grammar of RFC 6265bis, and the requirements of browsers for name prefixes.

use session_manager::core::SessionToken;

use super::SessionCookie;

/// User agents drop a cookie whose name and value together are longer (RFC 6265bis section 5.6).
const MAX_NAME_AND_VALUE: usize = 4096;

/// User agents ignore a longer attribute value (RFC 6265bis section 5.6).
const MAX_ATTRIBUTE: usize = 1024;

/// The reason why a cookie is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CookieError {
    /// The domain is not a host name.
    #[error("a cookie's domain must be an ASCII host name without a leading dot")]
    Domain,
    /// Browsers refuse a `__Host-` cookie with a domain.
    #[error("a `__Host-` cookie must not have a domain; name it `__Secure-...` to share it between hosts")]
    HostPrefixWithDomain,
    /// Browsers refuse a `__Host-` cookie with a path other than `/`.
    #[error("a `__Host-` cookie must have the path `/`; name it `__Secure-...` to use another path")]
    HostPrefixWithPath,
    /// The name is not a token.
    #[error("a cookie's name must consist of 1 to 4030 letters, digits and !#$%&'*+-.^_`|~")]
    Name,
    /// Browsers refuse a partitioned cookie without `Secure`.
    #[error("a partitioned cookie must be `Secure`")]
    PartitionedWithoutSecure,
    /// The path cannot be written into the header.
    #[error(
        "a cookie's path must begin with `/` and contain no white space, quotes, backslash, comma or semicolon"
    )]
    Path,
    /// The prefix has another spelling. Browsers ignore its case, servers compare bytes.
    #[error("spell the prefix `__Host-`, `__Http-` or `__Secure-`")]
    PrefixSpelling,
    /// Browsers refuse a prefixed cookie without `Secure`.
    #[error("a cookie with the prefix `__Host-`, `__Http-` or `__Secure-` must be `Secure`")]
    PrefixWithoutSecure,
    /// Browsers refuse `SameSite=None` without `Secure`.
    #[error("a cookie with `SameSite=None` must be `Secure`")]
    SameSiteNoneWithoutSecure,
}

/// RFC 6265bis section 4.1.1: a name is a token (RFC 9110 section 5.6.2).
pub(super) fn check_name(name: &str) -> Result<(), CookieError> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let fits = (1..=MAX_NAME_AND_VALUE - SessionToken::MAX_LEN).contains(&name.len());
    if fits && name.bytes().all(is_token) { Ok(()) } else { Err(CookieError::Name) }
}

/// Stricter than RFC 6265bis section 4.1.1: intermediaries mangle space, quotes, comma and
/// backslash.
pub(super) fn check_path(path: &str) -> Result<(), CookieError> {
    let is_safe = |byte: u8| byte.is_ascii_graphic() && !b";,\"\\".contains(&byte);
    let fits = path.len() <= MAX_ATTRIBUTE && path.starts_with('/');
    if fits && path.bytes().all(is_safe) { Ok(()) } else { Err(CookieError::Path) }
}

/// RFC 6265bis section 4.1.1: a domain is a subdomain (RFC 1034 section 3.5) whose labels may begin
/// with a digit (RFC 1123 section 2.1).
pub(super) fn check_domain(domain: &str) -> Result<(), CookieError> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() <= 253 && domain.split('.').all(is_label) { Ok(()) } else { Err(CookieError::Domain) }
}

/// RFC 6265bis section 4.1.3. User agents compare prefixes without regard to case (section 5.4), so
/// a cookie with another spelling would have the restrictions and look unprotected.
pub(super) fn check_prefix(cookie: &SessionCookie) -> Result<(), CookieError> {
    let has_prefix =
        |prefix: &str| cookie.name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    let Some(prefix) = ["__Host-", "__Http-", "__Secure-"].into_iter().find(|prefix| has_prefix(prefix))
    else {
        return Ok(());
    };
    if !cookie.name.starts_with(prefix) {
        return Err(CookieError::PrefixSpelling);
    }
    if !cookie.secure {
        return Err(CookieError::PrefixWithoutSecure);
    }
    match (prefix, &cookie.domain) {
        ("__Host-", Some(_)) => Err(CookieError::HostPrefixWithDomain),
        ("__Host-", None) if cookie.path != "/" => Err(CookieError::HostPrefixWithPath),
        _ => Ok(()),
    }
}
