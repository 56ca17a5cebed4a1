//! The session token that a request presents. Only reads headers: no allocation, no copy, no
//! decoding.

use std::ops::Range;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use session_manager::core::SessionToken;

/// Where a request may carry its session token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Transport {
    /// In `Authorization: Bearer`, for programs. No cookie is read or set.
    Bearer,
    /// In the session cookie. The default.
    #[default]
    Cookie,
    /// In either. A request with two different tokens is anonymous.
    Either,
}

impl Transport {
    pub(crate) const fn reads_bearer(self) -> bool {
        matches!(self, Self::Bearer | Self::Either)
    }

    pub(crate) const fn reads_cookie(self) -> bool {
        matches!(self, Self::Cookie | Self::Either)
    }
}

/// The one token that a request presents.
#[derive(Debug, Clone)]
pub(crate) enum Presented {
    /// Several different tokens. Picking one would let anyone who can add a header choose the
    /// session.
    Conflict,
    /// A value that cannot be a token, whatever the store contains.
    Malformed,
    None,
    Token(Token),
}

/// The text of a token, as a range of its header. Clones share the header.
#[derive(Clone)]
pub(crate) struct Token {
    header: HeaderValue,
    range: Range<usize>,
}

impl Token {
    /// Returns the text, or an empty one if it is not ASCII and so cannot be a token.
    pub(crate) fn text(&self) -> &str {
        let bytes = self.header.as_bytes().get(self.range.clone()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

/// The result of reading the headers.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) presented: Presented,
    /// True if there is a cookie that a response can remove.
    pub(crate) has_cookie: bool,
}

impl Credentials {
    pub(crate) fn scan(headers: &HeaderMap, transport: Transport, cookie_name: &str) -> Self {
        let mut found = Found::default();
        if transport.reads_cookie() {
            // RFC 6265bis section 4.2.1: one Cookie header, but HTTP/2 may split it, and servers
            // have to accept several.
            for header in headers.get_all(COOKIE) {
                for value in cookie_values(header.as_bytes(), cookie_name.as_bytes()) {
                    found.add(header, value);
                }
            }
        }
        let has_cookie = found.first.is_some();
        if transport.reads_bearer() {
            for header in headers.get_all(AUTHORIZATION) {
                if let Some(value) = bearer_value(header.as_bytes()) {
                    found.add(header, value);
                }
            }
        }
        Self { presented: found.presented(), has_cookie }
    }
}

/// The values found so far. Identical values collapse, two different values are a conflict.
#[derive(Default)]
struct Found<'h> {
    first: Option<(&'h HeaderValue, Range<usize>)>,
    differ: bool,
}

impl<'h> Found<'h> {
    fn add(&mut self, header: &'h HeaderValue, range: Range<usize>) {
        match &self.first {
            None => self.first = Some((header, range)),
            Some((other, known)) => {
                self.differ |= header.as_bytes().get(range) != other.as_bytes().get(known.clone());
            }
        }
    }

    fn presented(self) -> Presented {
        match self.first {
            None => Presented::None,
            Some(_) if self.differ => Presented::Conflict,
            Some((_, range)) if range.is_empty() || range.len() > SessionToken::MAX_LEN => {
                Presented::Malformed
            }
            Some((header, range)) => Presented::Token(Token { header: header.clone(), range }),
        }
    }
}

/// Yields the ranges of a cookie's values in a `Cookie` header, comparing names byte by byte.
///
/// RFC 6265bis section 4.2.1: pairs are separated by `"; "`. Surrounding white space is dropped.
/// Nothing is unquoted or percent-decoded, because a token has one spelling.
fn cookie_values<'h>(header: &'h [u8], name: &'h [u8]) -> impl Iterator<Item = Range<usize>> + 'h {
    let mut start = 0;
    header.split(|byte| *byte == b';').filter_map(move |pair| {
        let at = start;
        start += pair.len() + 1;
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&pair[..equals], &pair[equals + 1..]);
        (key.trim_ascii() == name).then(|| trimmed(value, at + equals + 1))
    })
}

/// Returns the range of the token in an `Authorization: Bearer` header. RFC 6750 section 2.1, and
/// RFC 9110 section 11.1 for the case of the scheme.
fn bearer_value(header: &[u8]) -> Option<Range<usize>> {
    const SCHEME: &[u8] = b"bearer";
    let (scheme, rest) = header.split_at_checked(SCHEME.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(SCHEME) && rest.first().is_none_or(u8::is_ascii_whitespace);
    is_bearer.then(|| trimmed(rest, SCHEME.len()))
}

/// Returns the range of a text that begins at an offset, without the white space around it.
fn trimmed(text: &[u8], offset: usize) -> Range<usize> {
    let start = offset + text.len() - text.trim_ascii_start().len();
    start..start + text.trim_ascii().len()
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;
    use proptest::prelude::*;

    use super::*;

    fn scan(transport: Transport, headers: &[(HeaderName, &str)]) -> (String, bool) {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .collect();
        let found = Credentials::scan(&headers, transport, "id");
        let presented = match found.presented {
            Presented::Conflict => "conflict".to_owned(),
            Presented::Malformed => "malformed".to_owned(),
            Presented::None => "none".to_owned(),
            Presented::Token(token) => format!("token {}", token.text()),
        };
        (presented, found.has_cookie)
    }

    fn cookie(lines: &[&str]) -> String {
        let headers: Vec<_> = lines.iter().map(|line| (COOKIE, *line)).collect();
        scan(Transport::Cookie, &headers).0
    }

    #[test]
    fn cookie_is_found_at_any_position() {
        for line in ["id=T", "a=b; id=T", "id=T; a=b", "a=b;id=T;c=d", " id = T ", ";;id=T;", "x; id=T"] {
            assert_eq!(cookie(&[line]), "token T", "{line:?}");
        }
        assert_eq!(cookie(&["a=b", "c=d; id=T"]), "token T");
    }

    #[test]
    fn names_are_compared_byte_by_byte() {
        for line in ["", "ID=T", "Id=T", "xid=T", "idx=T", "a=id=T", "id", "a=b", "\"id\"=T", "id%20=T"] {
            assert_eq!(cookie(&[line]), "none", "{line:?}");
        }
        assert_eq!(cookie(&["ID=evil; id=T"]), "token T");
    }

    #[test]
    fn two_different_values_conflict_and_equal_ones_collapse() {
        assert_eq!(cookie(&["id=A; id=B"]), "conflict");
        assert_eq!(cookie(&["id=A", "id=B"]), "conflict");
        assert_eq!(cookie(&["id=A; id="]), "conflict");
        assert_eq!(cookie(&["id=A; x=y; id=A", "id=A"]), "token A");
    }

    #[test]
    fn empty_and_over_long_values_are_malformed() {
        assert_eq!(cookie(&["id="]), "malformed");
        assert_eq!(cookie(&[&format!("id={}", "a".repeat(66))]), format!("token {}", "a".repeat(66)));
        assert_eq!(cookie(&[&format!("id={}", "a".repeat(67))]), "malformed");
        assert_eq!(cookie(&[&format!("id={}", "a".repeat(60_000))]), "malformed");
    }

    #[test]
    fn value_is_not_unquoted_or_decoded() {
        for value in ["a=b", "\"T\"", "%41", "a b", "a,b"] {
            assert_eq!(cookie(&[&format!("id={value}")]), format!("token {value}"));
        }
    }

    #[test]
    fn bearer_scheme_is_case_insensitive() {
        let bearer = |line: &str| scan(Transport::Bearer, &[(AUTHORIZATION, line)]);
        for line in ["Bearer T", "bearer T", "BEARER  T ", "Bearer\tT"] {
            assert_eq!(bearer(line), ("token T".to_owned(), false), "{line:?}");
        }
        for line in ["", "Bear", "Basic T", "BearerT", "Token T"] {
            assert_eq!(bearer(line).0, "none", "{line:?}");
        }
        assert_eq!(bearer("Bearer").0, "malformed");
        assert_eq!(bearer("Bearer ").0, "malformed");
    }

    #[test]
    fn each_transport_reads_only_its_headers() {
        let both = [(COOKIE, "id=T"), (AUTHORIZATION, "Bearer U")];
        assert_eq!(scan(Transport::Cookie, &both), ("token T".to_owned(), true));
        assert_eq!(scan(Transport::Bearer, &both), ("token U".to_owned(), false));
        assert_eq!(scan(Transport::Either, &both), ("conflict".to_owned(), true));
        let same = [(COOKIE, "id=T"), (AUTHORIZATION, "Bearer T")];
        assert_eq!(scan(Transport::Either, &same), ("token T".to_owned(), true));
        assert_eq!(scan(Transport::Either, &[(AUTHORIZATION, "Basic x")]), ("none".to_owned(), false));
    }

    #[test]
    fn debug_output_hides_the_token() {
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static("id=hush"))]);
        let found = Credentials::scan(&headers, Transport::Cookie, "id");
        assert!(!format!("{found:?}").contains("hush"));
    }

    proptest! {
        /// Any bytes in any number of lines: no panic, and a token is one of the values that were
        /// sent.
        #[test]
        fn arbitrary_headers_do_not_panic(lines in proptest::collection::vec("[id=; \"T\\x80-\\xff]{0,40}", 0..4)) {
            let headers: HeaderMap = lines
                .iter()
                .filter_map(|line| Some((COOKIE, HeaderValue::from_bytes(line.as_bytes()).ok()?)))
                .collect();
            if let Presented::Token(token) = Credentials::scan(&headers, Transport::Either, "id").presented {
                prop_assert!(lines.iter().any(|line| line.contains(token.text())));
            }
        }
    }
}
