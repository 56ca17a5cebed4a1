//! What errors and `Debug` output may reveal.

use std::error::Error as _;
use std::fmt::Write as _;

use session_core::{Error, ErrorKind, OnExceed, Revision, SecretHash, SecretState, SessionRecord};

use super::given_ended;
use crate::fixtures::{at, full, limit, logged_out};
use crate::harness::{Harness, assert_kind};

const MARKER: &[u8; 32] = b"Hidden-Hidden-Hidden-Hidden-HidX";

/// Returns a session whose data and hashes are easy to recognise in output.
fn marked() -> SessionRecord {
    let mut record = full("ann");
    record.data = MARKER.to_vec().into();
    let mut hash = [0; SecretHash::LEN];
    hash[4..].copy_from_slice(MARKER);
    record.secret = Some(SecretState::new(SecretHash::from_bytes(hash)));
    record
}

/// Asserts that a text contains the marker neither as text, in hexadecimal, in Base64 nor as a list
/// of numbers.
#[track_caller]
fn assert_hidden(text: &str) {
    let lower = text.to_lowercase();
    for form in ["hidden-hid", "48696464656e", "sglkzgvu", "72, 105, 100, 100", "72,105,100,100"] {
        assert!(!lower.contains(form), "session data or a hash is shown: {text}");
    }
}

/// Returns everything that a log could print of an error, including its sources.
fn printed(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(inner) = source {
        write!(text, " {inner} {inner:?}").expect("a string takes everything");
        source = inner.source();
    }
    text
}

/// No error reveals data or hashes: not in its message, not in its `Debug` form, not in its
/// sources.
pub async fn errors_show_neither_data_nor_hashes(h: Harness) {
    let (stored, over) = (marked(), marked());
    h.given(&stored).await;
    given_ended(&h, &over, &logged_out(1)).await;
    let mut large = marked();
    large.data = MARKER.repeat(h.store().capabilities().max_payload / 32 + 1).into();
    let second = Revision::FIRST.next();
    let errors = [
        assert_kind(h.store().create(stored.clone().into(), None).await, ErrorKind::AlreadyExists),
        assert_kind(h.create(&marked(), &limit(1, OnExceed::Refuse, 1)).await, ErrorKind::LimitExceeded),
        assert_kind(h.store().create(large.into(), None).await, ErrorKind::Invalid),
        assert_kind(h.update(&marked(), Revision::FIRST).await, ErrorKind::NotFound),
        assert_kind(h.update(&stored, second).await, ErrorKind::Conflict),
        assert_kind(h.update(&over, second).await, ErrorKind::Ended),
        assert_kind(h.store().purge(at(1), 501).await, ErrorKind::Invalid),
    ];
    for error in errors {
        assert_hidden(&printed(&error));
    }
}

/// The store's `Debug` output reveals nothing of what it stores.
pub async fn debug_of_the_store_shows_neither_data_nor_hashes(h: Harness) {
    h.given(&marked()).await;
    assert_hidden(&format!("{:?} {:#?}", h.store(), h.store()));
}
