use super::*;
use crate::random::SystemRandom;
use crate::time::Timestamp;
use proptest::prelude::*;
use static_assertions::assert_not_impl_any;

assert_not_impl_any!(SessionToken: Clone, fmt::Display, PartialEq, serde::Serialize);
assert_not_impl_any!(RefreshToken: Clone, fmt::Display, PartialEq, serde::Serialize);
assert_not_impl_any!(Secret: Clone, fmt::Display, PartialEq, serde::Serialize);

fn token(format: SecretFormat) -> SessionToken {
    let id = SessionId::mint(Timestamp::from_millis(1_767_225_600_000), None, &SystemRandom).unwrap();
    SessionToken::mint(id, format, &SystemRandom).unwrap()
}

#[test]
fn every_format_round_trips_at_its_documented_length() {
    for format in SecretFormat::ALL {
        let token = token(format);
        let text = token.expose();
        assert_eq!(text.len(), 23 + format.text_len());
        let parsed = SessionToken::parse(&text).unwrap();
        assert_eq!((parsed.id(), parsed.secret().bytes()), (token.id(), token.secret().bytes()));
        assert_eq!(parsed.secret().format(), format);
    }
}

#[test]
fn refresh_tokens_and_session_tokens_are_not_interchangeable() {
    let session = token(SecretFormat::Urlsafe256);
    let refresh = RefreshToken::mint(session.id(), SecretFormat::Urlsafe256, &SystemRandom).unwrap();
    assert!(SessionToken::parse(&refresh.expose()).is_err());
    assert!(RefreshToken::parse(&session.expose()).is_err());
    assert_eq!(RefreshToken::parse(&refresh.expose()).unwrap().secret().bytes(), refresh.secret().bytes());
    assert_eq!(format!("{refresh:?}"), format!("RefreshToken({}.***)", session.id()));
}

#[test]
fn no_other_spelling_parses() {
    for format in SecretFormat::ALL {
        let text = token(format).expose().to_string();
        let id = &text[..22];
        let mut others = vec![
            String::new(),
            text.to_uppercase(),
            format!(" {text}"),
            format!("{text} "),
            format!("{text}="),
            format!("{text}\0"),
            text.replace('.', ":"),
            text[..text.len() - 1].to_owned(),
            id.to_owned(),
            format!("{id}."),
            "\u{e9}".repeat(33),
            "a".repeat(100_000),
        ];
        if format == SecretFormat::Uuid {
            others.push(text.replace('-', ""));
            others.push(format!("{id}.018f3c1b-58a4-7b52-9c3e-0a4d0f6a2b11"));
        }
        for other in others {
            assert!(SessionToken::parse(&other).is_err(), "{other:?} parsed");
        }
    }
}

#[test]
fn spare_bits_of_base64url_must_be_zero() {
    let text = token(SecretFormat::Urlsafe256).expose().to_string();
    let (head, last) = text.split_at(text.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let index = alphabet.find(last).unwrap();
    for spare in 1..4 {
        let twin = format!("{head}{}", &alphabet[index + spare..=index + spare]);
        assert!(SessionToken::parse(&twin).is_err(), "the last character has 16 values, not 64");
    }
}

#[test]
fn secrets_use_the_whole_alphabet_and_do_not_repeat() {
    let mut seen = std::collections::HashSet::new();
    let mut characters = std::collections::HashSet::new();
    for _ in 0..2_000 {
        let text = token(SecretFormat::Urlsafe256).expose().to_string();
        characters.extend(text[23..65].chars());
        assert!(seen.insert(text));
    }
    assert_eq!(characters.len(), 64);
}

#[test]
fn debug_shows_nothing_of_the_secret() {
    let token = token(SecretFormat::Urlsafe256);
    let shown = format!("{token:?} {:?} {:#?}", token.secret(), token);
    assert!(!shown.contains(&token.expose()[23..33]));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics_and_never_parses(text in "\\PC{0,80}") {
        prop_assert!(SessionToken::parse(&text).is_err());
    }

    #[test]
    fn a_changed_character_never_gives_the_same_token(position in 0_usize..66, replacement in any::<char>()) {
        let token = token(SecretFormat::Urlsafe256);
        let text = token.expose();
        let mut changed: Vec<char> = text.chars().collect();
        prop_assume!(changed[position] != replacement);
        changed[position] = replacement;
        let changed: String = changed.into_iter().collect();
        if let Ok(parsed) = SessionToken::parse(&changed) {
            let same = parsed.id() == token.id() && parsed.secret().bytes() == token.secret().bytes();
            prop_assert!(!same);
        }
    }
}
