use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn hash() -> impl Strategy<Value = SecretHash> {
    vec(any::<u8>(), SecretHash::LEN).prop_map(|bytes| SecretHash::from_bytes(bytes.try_into().unwrap()))
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

fn successor() -> impl Strategy<Value = Successor> {
    prop_oneof![
        Just(Successor::Unpresented),
        Just(Successor::Unconfirmed),
        time().prop_map(Successor::Presented)
    ]
}

fn previous() -> impl Strategy<Value = PreviousSecret> {
    (hash(), any::<[u8; 32]>(), time(), successor()).prop_map(|(hash, salt, at, successor)| PreviousSecret {
        successor,
        ..PreviousSecret::new(hash, RotationSalt::from_bytes(salt), at)
    })
}

fn secret() -> impl Strategy<Value = SecretState> {
    (hash(), option::of(time()), option::of(previous()))
        .prop_map(|(current, expires_at, previous)| SecretState { current, expires_at, previous })
}

fn refresh() -> impl Strategy<Value = RefreshState> {
    (secret(), any::<u64>(), time(), vec(hash(), 0..=MAX_SPENT)).prop_map(
        |(secret, generation, expires_at, spent)| RefreshState { secret, generation, expires_at, spent },
    )
}

proptest! {
    #[test]
    fn a_stored_secret_round_trips(state in secret()) {
        let bytes = state.to_bytes();
        prop_assert!(bytes.len() <= 130);
        prop_assert_eq!(SecretState::from_bytes(&bytes).unwrap(), state);
    }

    #[test]
    fn a_stored_refresh_state_round_trips(state in refresh()) {
        let bytes = state.to_bytes();
        prop_assert!(bytes.len() <= 434);
        prop_assert_eq!(RefreshState::from_bytes(&bytes).unwrap(), state);
    }

    #[test]
    fn each_state_has_one_stored_form(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(state) = SecretState::from_bytes(&bytes) {
            prop_assert_eq!(state.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_truncated_or_longer_form_is_refused(state in refresh(), cut in 1_usize..36) {
        let mut bytes = state.to_bytes();
        bytes.truncate(bytes.len() - cut);
        prop_assert!(RefreshState::from_bytes(&bytes).is_err());
        let mut bytes = state.to_bytes();
        bytes.extend(std::iter::repeat_n(7, cut));
        prop_assert!(RefreshState::from_bytes(&bytes).is_err());
    }
}

#[test]
fn an_unknown_layout_is_refused() {
    let mut bytes = SecretState::new(SecretHash::from_bytes([1; SecretHash::LEN])).to_bytes();
    bytes[0] = 2;
    assert_eq!(SecretState::from_bytes(&bytes).unwrap_err().kind(), crate::ErrorKind::Invalid);
    bytes[0] = LAYOUT;
    for flags in [4, 8, 12, 16, 32, 64, 128] {
        bytes[1] = flags;
        assert!(SecretState::from_bytes(&bytes).is_err(), "{flags}");
    }
}

fn state_of(byte: u8) -> SecretState {
    SecretState::new(SecretHash::from_bytes([byte; SecretHash::LEN]))
}

#[test]
fn a_successor_is_confirmed_once() {
    let (at, later) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
    let rotated = state_of(1).replaced(state_of(2).current, RotationSalt::from_bytes([3; 32]), at);
    assert_eq!(rotated.successor(), Some(Successor::Unpresented));
    let presented = rotated.confirmed(at);
    assert_eq!(presented.successor(), Some(Successor::Presented(at)));
    assert_eq!(presented.confirmed(later), presented);
    assert_eq!(presented.restored(), presented);
}

#[test]
fn a_replacement_can_be_undone_until_it_is_confirmed() {
    let at = Timestamp::from_millis(5);
    let replaced = state_of(1).replaced_unconfirmed(state_of(2).current, at);
    assert_eq!(replaced.successor(), Some(Successor::Unconfirmed));
    assert_eq!(replaced.restored(), state_of(1));
    let confirmed = replaced.confirmed(at);
    assert_eq!(confirmed, state_of(2));
    assert_eq!(confirmed.restored(), confirmed);
}

#[test]
fn a_confirmed_refresh_token_spends_the_previous_one() {
    let at = Timestamp::from_millis(5);
    let first = RefreshState::new(state_of(1).current, at);
    let replaced = first.replaced_unconfirmed(state_of(2).current, at);
    assert_eq!(replaced.restored(), first);
    let confirmed = replaced.confirmed(at);
    assert_eq!(
        (confirmed.secret.current.clone(), confirmed.spent.clone()),
        (state_of(2).current, vec![state_of(1).current])
    );
    assert_eq!(confirmed.confirmed(at), confirmed, "the previous token is spent once");
}
