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

fn previous() -> impl Strategy<Value = PreviousSecret> {
    (hash(), any::<[u8; 32]>(), time())
        .prop_map(|(hash, salt, at)| PreviousSecret::new(hash, RotationSalt::from_bytes(salt), at))
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
    fn a_stored_secret_reads_back(state in secret()) {
        let bytes = state.to_bytes();
        prop_assert!(bytes.len() <= 122);
        prop_assert_eq!(SecretState::from_bytes(&bytes).unwrap(), state);
    }

    #[test]
    fn a_stored_refresh_state_reads_back(state in refresh()) {
        let bytes = state.to_bytes();
        prop_assert!(bytes.len() <= 426);
        prop_assert_eq!(RefreshState::from_bytes(&bytes).unwrap(), state);
    }

    #[test]
    fn no_two_stored_forms_mean_the_same(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(state) = SecretState::from_bytes(&bytes) {
            prop_assert_eq!(state.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_cut_or_longer_form_is_refused(state in refresh(), cut in 1_usize..36) {
        let mut bytes = state.to_bytes();
        bytes.truncate(bytes.len() - cut);
        prop_assert!(RefreshState::from_bytes(&bytes).is_err());
        let mut bytes = state.to_bytes();
        bytes.extend(std::iter::repeat_n(7, cut));
        prop_assert!(RefreshState::from_bytes(&bytes).is_err());
    }
}

#[test]
fn another_layout_is_refused() {
    let mut bytes = SecretState::new(SecretHash::from_bytes([1; SecretHash::LEN])).to_bytes();
    bytes[0] = 2;
    assert_eq!(SecretState::from_bytes(&bytes).unwrap_err().kind(), crate::ErrorKind::Invalid);
    bytes[0] = LAYOUT;
    bytes[1] = 4;
    assert!(SecretState::from_bytes(&bytes).is_err());
}
