use super::*;
use crate::random::SystemRandom;
use proptest::prelude::*;

fn mint(millis: i64, user: Option<&UserId>) -> SessionId {
    SessionId::mint(Timestamp::from_millis(millis), user, &SystemRandom).unwrap()
}

#[test]
fn ids_of_one_user_share_the_users_shard() {
    let user = UserId::from(7_u64);
    for millis in 0..100 {
        assert_eq!(mint(millis, Some(&user)).shard(), user.shard());
    }
}

#[test]
fn derived_ids_are_stable_and_distinct() {
    let (ann, bob) = (UserId::from(1_u64), UserId::from(2_u64));
    let id = SessionId::derive("jwt", b"sid-1", Some(&ann));
    assert_eq!(id, SessionId::derive("jwt", b"sid-1", Some(&ann)));
    assert_eq!((id.shard(), SessionId::from_bytes(*id.as_bytes()).unwrap()), (ann.shard(), id));
    for other in [
        SessionId::derive("jwt", b"sid-2", Some(&ann)),
        SessionId::derive("jwt", b"sid-1", Some(&bob)),
        SessionId::derive("jwt", b"sid-1", None),
        SessionId::derive("jw", b"tsid-1", Some(&ann)),
    ] {
        assert_ne!(id, other);
    }
    assert_eq!(id.to_string(), "fe776109-6a29-895a-9b4c-4e8be872a9ae");
}

#[test]
fn users_spread_over_all_shards() {
    let used: std::collections::HashSet<_> = (0..20_000_u64).map(|n| UserId::from(n).shard()).collect();
    assert_eq!(used.len(), usize::from(Shard::COUNT));
}

#[test]
fn ids_are_ordered_by_time() {
    assert!(mint(1, None) < mint(2, None));
    assert!(mint(0xffff, None) < mint(0x1_0000, None));
}

#[test]
fn times_beyond_48_bits_are_refused() {
    for millis in [-1, 1 << 48, i64::MAX, i64::MIN] {
        assert!(SessionId::mint(Timestamp::from_millis(millis), None, &SystemRandom).is_err());
    }
}

#[test]
fn a_failing_generator_never_makes_an_id() {
    #[derive(Debug)]
    struct Short;
    impl SecureRandom for Short {
        fn fill(&self, buffer: &mut [u8]) -> Result<()> {
            buffer[..4].fill(1);
            Err(Error::unavailable("random", "fill"))
        }
    }
    assert!(SessionId::mint(Timestamp::EPOCH, None, &Short).unwrap_err().is_transient());
    assert!(DeviceId::mint(&Short).is_err());
}

#[test]
fn only_one_spelling_of_an_id_parses() {
    let id = mint(1_700_000_000_000, None);
    let text = id.to_string();
    assert_eq!(text.parse::<SessionId>().unwrap(), id);
    let simple = text.replace('-', "");
    for other in
        [text.to_uppercase(), simple, format!("{{{text}}}"), format!("urn:uuid:{text}"), format!("{text} ")]
    {
        assert!(other.parse::<SessionId>().is_err(), "{other}");
    }
    assert!(
        "7f3c1b9e-58a4-4b52-9c3e-0a4d0f6a2b11".parse::<SessionId>().is_err(),
        "version 4 is not a session id"
    );
}

#[test]
fn user_ids_have_limits() {
    assert!(UserId::try_from("a".repeat(255)).is_ok());
    for bad in [String::new(), "a".repeat(256), "a\0b".to_owned()] {
        assert!(UserId::try_from(bad).is_err());
    }
}

proptest! {
    #[test]
    fn every_minted_id_round_trips(millis in 0_i64..(1 << 48), user in "[^\0]{1,60}") {
        let user = UserId::try_from(user).unwrap();
        let id = mint(millis, Some(&user));
        prop_assert_eq!(SessionId::from_bytes(*id.as_bytes()).unwrap(), id);
        prop_assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
        prop_assert_eq!(serde_json::from_str::<SessionId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }

    #[test]
    fn no_text_panics_the_parser(text in ".*") {
        let _ = text.parse::<SessionId>();
        let _ = text.parse::<DeviceId>();
    }
}
