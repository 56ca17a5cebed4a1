use axum::body::Body;

use super::*;

fn verdict(check: &SameOrigin, method: &str, headers: &[(&str, &str)]) -> bool {
    let mut request = Request::builder().method(method).uri("/cart").header("host", "shop.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    check.check(&request.body(Body::empty()).unwrap().into_parts().0).is_ok()
}

fn passes(headers: &[(&str, &str)]) -> bool {
    verdict(&SameOrigin::default(), "POST", headers)
}

#[test]
fn safe_methods_pass_from_any_origin() {
    for (method, expected) in [
        ("GET", true),
        ("HEAD", true),
        ("OPTIONS", true),
        ("POST", false),
        ("PUT", false),
        ("PATCH", false),
        ("DELETE", false),
        ("BREW", false),
    ] {
        let foreign = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
        assert_eq!(verdict(&SameOrigin::default(), method, &foreign), expected, "{method}");
    }
}

#[test]
fn fetch_metadata_decides_if_present() {
    assert!(passes(&[("sec-fetch-site", "same-origin")]));
    assert!(passes(&[("sec-fetch-site", "none")]));
    for site in ["cross-site", "same-site", "", "Same-Origin", "new-word"] {
        assert!(!passes(&[("sec-fetch-site", site), ("origin", "https://shop.example")]), "{site:?}");
    }
    // A page under `Referrer-Policy: no-referrer` sends `Origin: null` to itself.
    assert!(passes(&[("sec-fetch-site", "same-origin"), ("origin", "null")]));
}

#[test]
fn without_fetch_metadata_the_origin_must_be_the_host() {
    for (origin, expected) in [
        ("https://shop.example", true),
        ("http://shop.example", true),
        ("https://shop.example:443", true),
        ("https://SHOP.example", true),
        ("https://shop.example:8443", false),
        ("https://shop.example:80", false),
        ("https://evil.example", false),
        ("https://shop.example.evil.example", false),
        ("https://xshop.example", false),
        ("https://", false),
        ("ftp://shop.example", false),
        ("shop.example", false),
        ("null", false),
        ("", false),
    ] {
        assert_eq!(passes(&[("origin", origin)]), expected, "{origin:?}");
    }
}

#[test]
fn the_port_is_part_of_the_host() {
    let judge = |host: &'static str, origin: &'static str| {
        let headers = HeaderMap::from_iter([
            (HOST, http::HeaderValue::from_static(host)),
            (ORIGIN, http::HeaderValue::from_static(origin)),
        ]);
        SameOrigin::default().judge(&Method::POST, &Uri::from_static("/"), &headers).is_ok()
    };
    assert!(judge("127.0.0.1:3000", "http://127.0.0.1:3000"));
    assert!(!judge("127.0.0.1:3000", "http://127.0.0.1:3001"));
    assert!(!judge("127.0.0.1:3000", "http://127.0.0.1"));
    assert!(judge("[::1]:3000", "http://[::1]:3000"));
    assert!(judge("shop.example:80", "http://shop.example"));
}

#[test]
fn http2_names_the_host_in_the_authority() {
    let headers = HeaderMap::from_iter([(ORIGIN, http::HeaderValue::from_static("https://shop.example"))]);
    let judge = |uri| SameOrigin::default().judge(&Method::POST, &Uri::from_static(uri), &headers).is_ok();
    assert!(judge("https://shop.example/cart"));
    assert!(!judge("https://other.example/cart"));
    assert!(!judge("/cart"));
}

#[test]
fn request_without_browser_headers_passes() {
    assert!(passes(&[]));
    assert!(passes(&[("cookie", "session=T")]));
}

#[test]
fn bearer_requests_are_exempt_only_without_cookies() {
    let foreign = ("origin", "https://app.example");
    assert!(passes(&[foreign, ("authorization", "Bearer T")]));
    assert!(passes(&[foreign, ("authorization", "bearer T")]));
    assert!(!passes(&[foreign, ("authorization", "Bearer T"), ("cookie", "a=b")]));
    assert!(!passes(&[foreign, ("authorization", "Basic T")]));
}

#[test]
fn only_trusted_origins_pass() {
    let check = SameOrigin::default()
        .with_trusted_origin("https://admin.example")
        .unwrap()
        .with_trusted_origin("http://localhost:5173")
        .unwrap();
    let from = |origin| verdict(&check, "POST", &[("origin", origin), ("sec-fetch-site", "cross-site")]);
    assert!(from("https://admin.example"));
    assert!(from("http://localhost:5173"));
    assert!(!from("http://admin.example"));
    assert!(!from("https://admin.example:8443"));
    assert!(!from("https://evil.example"));
}

#[test]
fn only_origins_can_be_trusted() {
    for origin in [
        "",
        "*",
        "null",
        "shop.example",
        "https://",
        "https://a/",
        "https://a/b",
        "https://a?b",
        "https://A",
        "https://a:443",
        "http://a:80",
        "https://u@a",
        "ftp://a",
        "https://a b",
        "https://ä",
    ] {
        assert!(SameOrigin::default().with_trusted_origin(origin).is_err(), "{origin:?}");
    }
}
