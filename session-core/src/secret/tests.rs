use super::*;
use crate::{SecretFormat, SystemRandom, Timestamp};

const fn pepper(id: u32) -> PepperId {
    match NonZeroU32::new(id) {
        Some(id) => PepperId::new(id),
        None => panic!("zero is not a name"),
    }
}

fn fixture() -> (SessionId, Secret) {
    let id = SessionId::mint(Timestamp::from_millis(1), None, &SystemRandom).unwrap();
    (id, Secret::mint(SecretFormat::Urlsafe256, &SystemRandom).unwrap())
}

#[test]
fn a_secret_matches_only_its_own_session_and_purpose() {
    let hasher = SecretHasher::plain();
    let ((id, secret), (other_id, other_secret)) = (fixture(), fixture());
    let hash = hasher.hash(SecretPurpose::Session, id, &secret);
    let verify = |purpose, id, secret| hasher.verify(purpose, id, secret, &hash);
    assert_eq!(verify(SecretPurpose::Session, id, &secret), SecretMatch::Match);
    assert_eq!(verify(SecretPurpose::Refresh, id, &secret), SecretMatch::Mismatch);
    assert_eq!(verify(SecretPurpose::Session, other_id, &secret), SecretMatch::Mismatch);
    assert_eq!(verify(SecretPurpose::Session, id, &other_secret), SecretMatch::Mismatch);
}

#[test]
fn a_pepper_rotates_without_signing_users_out() {
    let (id, secret) = fixture();
    let check =
        |hasher: &SecretHasher, hash: &SecretHash| hasher.verify(SecretPurpose::Session, id, &secret, hash);
    let plain = SecretHasher::plain();
    let first = SecretHasher::peppered(PepperRing::new(pepper(1), &[1; 32]).unwrap());
    let ring = PepperRing::new(pepper(2), &[2; 32]).unwrap();
    let second = SecretHasher::peppered(ring.with_previous(pepper(1), &[1; 32]).unwrap());
    let third = SecretHasher::peppered(
        PepperRing::new(pepper(2), &[2; 32]).unwrap().with_retired(pepper(1)).unwrap(),
    );

    let old = plain.hash(SecretPurpose::Session, id, &secret);
    assert_eq!(check(&first, &old), SecretMatch::MatchOutdated);
    let hash = first.hash(SecretPurpose::Session, id, &secret);
    assert_eq!(check(&first, &hash), SecretMatch::Match);
    assert_eq!(check(&second, &hash), SecretMatch::MatchOutdated);
    assert_eq!(check(&third, &hash), SecretMatch::Mismatch);
    assert_eq!(check(&plain, &hash), SecretMatch::UnknownKey, "a node without the key cannot compare");
    assert_ne!(hash.digest, second.hash(SecretPurpose::Session, id, &secret).digest);
}

#[test]
fn weak_and_ambiguous_rings_are_refused() {
    assert!(PepperRing::new(pepper(1), &[0; 31]).is_err());
    let ring = || PepperRing::new(pepper(1), &[1; 32]).unwrap();
    assert!(ring().with_previous(pepper(1), &[2; 32]).is_err());
    assert!(ring().with_retired(pepper(1)).is_err());
    assert!(ring().with_retired(pepper(2)).unwrap().with_previous(pepper(2), &[2; 32]).is_err());
}

#[test]
fn hashes_round_trip_and_print_nothing() {
    let (id, secret) = fixture();
    let ring = PepperRing::new(pepper(9), &[7; 40]).unwrap();
    let hash = SecretHasher::peppered(ring).hash(SecretPurpose::Session, id, &secret);
    assert_eq!(SecretHash::from_bytes(hash.to_bytes()), hash);
    assert_eq!(format!("{hash:?}"), "SecretHash(pepper 9, ***)");
}

#[test]
fn every_holder_of_the_old_secret_computes_the_same_successor() {
    let (_, old) = fixture();
    let salt = RotationSalt::mint(&SystemRandom).unwrap();
    let successor = salt.successor(&old);
    assert_eq!(successor.bytes(), RotationSalt::from_bytes(*salt.as_bytes()).successor(&old).bytes());
    assert_ne!(successor.bytes(), old.bytes());
    assert_ne!(successor.bytes(), salt.companion(&old).bytes());
    assert_ne!(successor.bytes(), RotationSalt::mint(&SystemRandom).unwrap().successor(&old).bytes());
}

#[test]
fn successors_keep_the_format() {
    let salt = RotationSalt::mint(&SystemRandom).unwrap();
    for format in [SecretFormat::Hex160, SecretFormat::Uuid] {
        let (id, _) = fixture();
        let successor = salt.successor(&Secret::mint(format, &SystemRandom).unwrap());
        let token = crate::SessionToken::from_parts(id, successor);
        assert_eq!(crate::SessionToken::parse(&token.expose()).unwrap().secret().format(), format);
    }
}

#[test]
fn the_plain_hash_is_sha256_of_the_documented_message() {
    let (id, secret) = fixture();
    let mut message = vec![0x11];
    message.extend_from_slice(id.as_bytes());
    message.extend_from_slice(secret.bytes());
    let expected: [u8; 32] = Sha256::digest(&message).into();
    assert_eq!(SecretHasher::plain().hash(SecretPurpose::Session, id, &secret).digest, expected);
}

#[test]
fn retired_plain_hashes_match_nothing() {
    let id = SessionId::derive("test", b"", None);
    let secret = Secret::mint(SecretFormat::Urlsafe256, &SystemRandom).unwrap();
    let plain = SecretHasher::plain().hash(SecretPurpose::Session, id, &secret);
    let ring = || PepperRing::new(PepperId::new(NonZeroU32::MIN), &[1; 32]).unwrap();
    let verify = |ring| SecretHasher::peppered(ring).verify(SecretPurpose::Session, id, &secret, &plain);
    assert_eq!(verify(ring()), SecretMatch::MatchOutdated);
    assert_eq!(verify(ring().with_plain_retired()), SecretMatch::Mismatch);
}
