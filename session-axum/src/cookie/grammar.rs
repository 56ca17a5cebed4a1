//! What RFC 6265bis allows in a cookie, and what browsers demand of a name's prefix.

use session_manager::core::SessionToken;

use super::SessionCookie;

/// A user agent drops a cookie whose name and value together are longer (RFC 6265bis section 5.6).
const MAX_NAME_AND_VALUE: usize = 4096;

/// A user agent ignores an attribute value that is longer (RFC 6265bis section 5.6).
const MAX_ATTRIBUTE: usize = 1024;

/// Why a cookie is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CookieError {
    /// The domain is not a host name.
    #[error("a cookie's domain is a host name in ASCII, without a leading dot")]
    Domain,
    /// A browser refuses a `__Host-` cookie with a domain.
    #[error("a `__Host-` cookie has no domain; name it `__Secure-...` to share it between hosts")]
    HostPrefixWithDomain,
    /// A browser refuses a `__Host-` cookie with another path than `/`.
    #[error("a `__Host-` cookie has the path `/`; name it `__Secure-...` to use another path")]
    HostPrefixWithPath,
    /// The name is not a token.
    #[error("a cookie's name consists of letters, digits and !#$%&'*+-.^_`|~, at most 4030 of them")]
    Name,
    /// A browser refuses a partitioned cookie without `Secure`.
    #[error("a partitioned cookie is `Secure`")]
    PartitionedWithoutSecure,
    /// The path cannot be written into the header.
    #[error("a cookie's path begins with `/` and has no white space, quotes, backslash, comma or semicolon")]
    Path,
    /// Browsers read prefixes in any case, servers byte by byte.
    #[error("the prefixes are spelled `__Host-`, `__Http-` and `__Secure-`")]
    PrefixSpelling,
    /// A browser refuses a prefixed cookie without `Secure`.
    #[error("a cookie with the prefix `__Host-`, `__Http-` or `__Secure-` is `Secure`")]
    PrefixWithoutSecure,
    /// A browser refuses `SameSite=None` without `Secure`.
    #[error("a cookie with `SameSite=None` is `Secure`")]
    SameSiteNoneWithoutSecure,
}

/// RFC 6265bis section 4.1.1: a name is a token, RFC 9110 section 5.6.2.
pub(super) fn check_name(name: &str) -> Result<(), CookieError> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let fits = (1..=MAX_NAME_AND_VALUE - SessionToken::MAX_LEN).contains(&name.len());
    if fits && name.bytes().all(is_token) { Ok(()) } else { Err(CookieError::Name) }
}

/// RFC 6265bis section 4.1.1 allows more; space, quotes, comma and backslash are what intermediaries mangle.
pub(super) fn check_path(path: &str) -> Result<(), CookieError> {
    let is_safe = |byte: u8| byte.is_ascii_graphic() && !b";,\"\\".contains(&byte);
    let fits = path.len() <= MAX_ATTRIBUTE && path.starts_with('/');
    if fits && path.bytes().all(is_safe) { Ok(()) } else { Err(CookieError::Path) }
}

/// RFC 6265bis section 4.1.1: a domain is a subdomain of RFC 1034 section 3.5, with labels that may begin with a digit
/// (RFC 1123 section 2.1).
pub(super) fn check_domain(domain: &str) -> Result<(), CookieError> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() <= 253 && domain.split('.').all(is_label) { Ok(()) } else { Err(CookieError::Domain) }
}

/// RFC 6265bis section 4.1.3. User agents compare prefixes without regard to case (section 5.4), so another spelling would
/// carry the restrictions and look unprotected.
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
