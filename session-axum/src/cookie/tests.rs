use std::time::Duration;

use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn text(header: Option<HeaderValue>) -> String {
    header.unwrap().to_str().unwrap().to_owned()
}

fn refused(change: impl FnOnce(SessionCookieBuilder) -> SessionCookieBuilder) -> CookieError {
    change(SessionCookie::builder()).build().unwrap_err()
}

#[test]
fn the_default_cookie_is_the_strict_one() {
    let cookie = SessionCookie::default();
    assert_eq!(
        text(cookie.set("id.secret", DAY, false)),
        "__Host-session=id.secret; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=86400"
    );
    assert_eq!(text(cookie.removal()), "__Host-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
}

#[test]
fn the_development_cookie_only_lacks_secure_and_the_prefix() {
    let cookie = SessionCookie::insecure_dev();
    assert_eq!(text(cookie.set("t", DAY, false)), "session=t; HttpOnly; SameSite=Lax; Path=/; Max-Age=86400");
    assert_eq!(text(cookie.removal()), "session=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
    let built = SessionCookie::builder().with_name("session").danger_without_secure().build();
    assert_eq!(built, Ok(cookie));
}

#[test]
fn removal_has_every_attribute_of_the_cookie() {
    let cookie = SessionCookie::builder()
        .with_name("__Secure-shop")
        .with_domain("shop.example")
        .with_path("/cart")
        .with_partitioned(true)
        .build()
        .unwrap();
    let attributes = "HttpOnly; SameSite=None; Partitioned; Secure; Path=/cart; Domain=shop.example";
    assert_eq!(text(cookie.set("t", DAY, true)), format!("__Secure-shop=t; {attributes}; Max-Age=86400"));
    assert_eq!(text(cookie.removal()), format!("__Secure-shop=; {attributes}; Max-Age=0"));
}

#[test]
fn max_age_is_at_least_a_second_and_at_most_400_days() {
    let cookie = SessionCookie::default();
    for (remaining, max_age) in [
        (Duration::ZERO, 1),
        (Duration::from_millis(999), 1),
        (Duration::from_millis(1_001), 2),
        (Duration::from_millis(2_000), 2),
        (MAX_LIFETIME, 34_560_000),
        (Duration::MAX, 34_560_000),
    ] {
        let header = text(cookie.set("t", remaining, false));
        assert!(header.ends_with(&format!("; Max-Age={max_age}")), "{header}");
    }
}

#[test]
fn only_remembered_cookies_have_max_age_if_so_configured() {
    let cookie = SessionCookie::builder().with_persistence(Persistence::Remembered).build().unwrap();
    assert!(!text(cookie.set("t", DAY, false)).contains("Max-Age"));
    assert!(text(cookie.set("t", DAY, true)).ends_with("; Max-Age=86400"));
    assert!(text(cookie.removal()).ends_with("; Max-Age=0"));
}

#[test]
fn a_host_cookie_has_neither_domain_nor_path() {
    assert_eq!(refused(|cookie| cookie.with_domain("shop.example")), CookieError::HostPrefixWithDomain);
    assert_eq!(refused(|cookie| cookie.with_path("/cart")), CookieError::HostPrefixWithPath);
}

#[test]
fn prefixes_have_one_spelling_and_need_secure() {
    for name in ["__HOST-id", "__host-id", "__SeCuRe-id", "__HTTP-id"] {
        assert_eq!(refused(|cookie| cookie.with_name(name)), CookieError::PrefixSpelling, "{name}");
    }
    for name in ["__Host-id", "__Secure-id", "__Http-id"] {
        let insecure = |cookie: SessionCookieBuilder| cookie.with_name(name).danger_without_secure();
        assert_eq!(refused(insecure), CookieError::PrefixWithoutSecure, "{name}");
    }
}

#[test]
fn cross_site_cookies_need_secure() {
    let plain = |cookie: SessionCookieBuilder| cookie.with_name("id").danger_without_secure();
    assert_eq!(refused(|cookie| plain(cookie).with_partitioned(true)), CookieError::PartitionedWithoutSecure);
    assert_eq!(
        refused(|cookie| plain(cookie).with_same_site(SameSite::None)),
        CookieError::SameSiteNoneWithoutSecure
    );
}

#[test]
fn names_paths_and_domains_follow_the_grammar() {
    for name in ["", "a b", "a;b", "a=b", "a,b", "a\"b", "a\\b", "a\r\nb", "a\0b", "ä", "a/b", "a@b"] {
        assert_eq!(refused(|cookie| cookie.with_name(name)), CookieError::Name, "{name:?}");
    }
    assert!(SessionCookie::builder().with_name("n".repeat(4030)).build().is_ok());
    assert_eq!(refused(|cookie| cookie.with_name("n".repeat(4031))), CookieError::Name);

    for path in ["", "a", "/a;b", "/a b", "/a\r\nb", "/a\0", "/ä", "/a,b", "/\"", "/\\"] {
        assert_eq!(refused(|cookie| cookie.with_name("id").with_path(path)), CookieError::Path, "{path:?}");
    }
    let longest = format!("/{}", "p".repeat(1023));
    assert!(SessionCookie::builder().with_name("id").with_path(&*longest).build().is_ok());
    assert_eq!(refused(|cookie| cookie.with_name("id").with_path(format!("{longest}p"))), CookieError::Path);

    let long_label = format!("{}.example", "d".repeat(64));
    for domain in
        ["", ".a.example", "a..b", "a.", "a b", "a;b", "a\r\nb", "ä.example", "-a", "a-", "a_b", &long_label]
    {
        assert_eq!(
            refused(|cookie| cookie.with_name("id").with_domain(domain)),
            CookieError::Domain,
            "{domain:?}"
        );
    }
}

#[test]
fn own_set_cookie_headers_are_recognised_by_exact_name() {
    let cookie = SessionCookie::insecure_dev();
    for (header, own) in [
        ("session=x; Path=/", true),
        ("session=", true),
        (" session = x", true),
        ("session", true),
        ("Session=x", false),
        ("session2=x", false),
        ("theme=session=x", false),
        ("", false),
    ] {
        assert_eq!(cookie.is_set_by(&HeaderValue::from_static(header)), own, "{header:?}");
    }
}

proptest! {
    /// Any settings: a cookie that `build` accepts is valid for browsers and is written as one
    /// header line.
    #[test]
    fn every_built_cookie_is_one_valid_header(
        name in "(__Host-|__Secure-|__Http-)?\\PC{0,12}",
        path in prop_oneof![Just("/".to_owned()), "/?[ -~\r\n\0ä]{0,12}"],
        domain in proptest::option::of("[a-zA-Z0-9.;\r\n -]{0,12}"),
        secure in any::<bool>(),
        partitioned in any::<bool>(),
    ) {
        let mut builder = SessionCookie::builder().with_name(name).with_path(path).with_partitioned(partitioned);
        if let Some(domain) = domain {
            builder = builder.with_domain(domain);
        }
        if !secure {
            builder = builder.danger_without_secure();
        }
        if let Ok(cookie) = builder.build() {
            let token = "t".repeat(66);
            let header = text(cookie.set(&token, DAY, true));
            let read = Cookie::parse(header.as_str()).unwrap();
            prop_assert_eq!((read.name(), read.value()), (cookie.name(), token.as_str()));
            prop_assert_eq!(read.path(), Some(&*cookie.path));
            prop_assert_eq!(read.domain(), cookie.domain.as_deref());
            prop_assert_eq!(read.secure().unwrap_or(false), cookie.secure);
            prop_assert!(header.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
            prop_assert!(cookie.is_set_by(&HeaderValue::from_str(&header).unwrap()));
        }
    }
}
