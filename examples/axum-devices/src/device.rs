//! A short name for a device without a label, from its user agent.

/// The kind of picture that a device gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Picture {
    Computer,
    Phone,
}

/// The order matters, because browsers also contain the names of those that they descend from.
const BROWSERS: [(&str, &str); 6] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
];

/// The order matters: Android's user agent contains `Linux`, an iPhone's contains `Mac OS X`.
const SYSTEMS: [(&str, &str); 6] = [
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

/// Returns a name like "Firefox on Linux", or the part of it that is known.
pub(crate) fn name(user_agent: Option<&str>) -> String {
    let text = user_agent.unwrap_or_default();
    let find = |known: &[(&str, &'static str)]| {
        known.iter().find(|(mark, _)| text.contains(mark)).map(|(_, name)| *name)
    };
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => "Unknown device".to_owned(),
    }
}

/// Returns the picture of a phone or a computer.
pub(crate) fn picture(user_agent: Option<&str>) -> Picture {
    let is_phone = user_agent
        .is_some_and(|text| ["Mobile", "Android", "iPhone"].into_iter().any(|mark| text.contains(mark)));
    if is_phone { Picture::Phone } else { Picture::Computer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_user_agents_have_a_name() {
        for (user_agent, expected, expected_picture) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Linux",
                Picture::Computer,
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0",
                "Edge on Windows",
                Picture::Computer,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
                Picture::Phone,
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36",
                "Chrome on Android",
                Picture::Phone,
            ),
            ("curl/8.5.0", "curl", Picture::Computer),
            ("x", "Unknown device", Picture::Computer),
        ] {
            assert_eq!(name(Some(user_agent)), expected);
            assert_eq!(picture(Some(user_agent)), expected_picture, "{expected}");
        }
        assert_eq!(name(None), "Unknown device");
    }
}
