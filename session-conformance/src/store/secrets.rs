//! Replaced secrets: the state of their successors is kept.

use session_core::{
    PreviousSecret, RefreshState, Revision, RotationSalt, SecretState, SessionRecord, Successor, Timestamp,
};

use super::{ago, assert_stored};
use crate::fixtures::{at, hash, record};
use crate::harness::Harness;

/// Returns one secret for every state of a successor, and one that replaced none.
fn states(number: u8) -> Vec<SecretState> {
    let successors = [
        Successor::Unpresented,
        Successor::Presented(at(3)),
        Successor::Presented(ago(1)),
        Successor::Presented(Timestamp::EPOCH),
        Successor::Unconfirmed,
    ];
    let replaced = |successor| {
        let salt = RotationSalt::from_bytes([number; 32]);
        let mut previous = PreviousSecret::new(hash(number + 1), salt, at(2));
        previous.successor = successor;
        let mut state = SecretState::new(hash(number));
        state.previous = Some(previous);
        state
    };
    std::iter::once(SecretState::new(hash(number))).chain(successors.map(replaced)).collect()
}

fn with_secrets(mut record: SessionRecord, secret: &SecretState, refresh: &SecretState) -> SessionRecord {
    let mut token = RefreshState::new(hash(9), at(50_000));
    token.secret = refresh.clone();
    (record.secret, record.refresh) = (Some(secret.clone()), Some(token));
    record
}

/// `create` and `update` keep every state of a successor, for the session's secret and for the
/// refresh token, in every combination.
pub async fn every_successor_of_a_secret_is_kept(h: Harness) {
    let (secrets, refreshes) = (states(10), states(20));
    let mut updated = record("ann");
    h.given(&updated).await;
    for secret in &secrets {
        for refresh in &refreshes {
            let created = with_secrets(record("ann"), secret, refresh);
            h.given(&created).await;
            assert_stored(&h, &created).await;
            updated = with_secrets(updated, secret, refresh);
            updated.revision = h.update(&updated, updated.revision).await.expect("update");
            assert_stored(&h, &updated).await;
        }
    }
}

/// Updates take a secret through its life: it is replaced and presented, then replaced without a
/// confirmation, and restored or confirmed. The refresh token follows the same steps.
pub async fn a_secret_is_kept_in_every_step_of_its_life(h: Harness) {
    let salt = |number| RotationSalt::from_bytes([number; 32]);
    let (secret, token) = (SecretState::new(hash(10)), RefreshState::new(hash(20), at(50_000)));
    let (replaced, advanced) =
        (secret.replaced(hash(11), salt(1), at(1)), token.advanced(hash(21), salt(2), at(1)));
    let (presented, used) = (replaced.confirmed(at(2)), advanced.confirmed(at(2)));
    let (unconfirmed, pending) =
        (presented.replaced_unconfirmed(hash(12), at(3)), used.replaced_unconfirmed(hash(22), at(3)));
    let steps = [
        (secret, token),
        (replaced, advanced),
        (presented, used),
        (unconfirmed.clone(), pending.clone()),
        (unconfirmed.restored(), pending.restored()),
        (unconfirmed.clone(), pending.clone()),
        (unconfirmed.confirmed(at(4)), pending.confirmed(at(4))),
    ];
    let mut record = record("ann");
    h.given(&record).await;
    for (revision, (secret, token)) in (1..).zip(steps) {
        (record.secret, record.refresh) = (Some(secret), Some(token));
        let expected = Revision::new(revision).expect("a revision");
        record.revision = h.update(&record, expected).await.expect("update");
        assert_stored(&h, &record).await;
    }
}
