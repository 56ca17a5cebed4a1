//! Data and hashes: bytes that a store keeps without interpreting them.

use std::sync::Arc;

use session_core::{
    ErrorKind, PreviousSecret, RefreshState, Revision, RotationSalt, SecretHash, SecretState,
};

use super::assert_stored;
use crate::fixtures::{NOW, at, full, record};
use crate::harness::{Harness, assert_kind};

async fn assert_kept(h: &Harness, data: &[u8]) {
    let mut created = record("ann");
    created.data = Arc::from(data);
    h.given(&created).await;
    assert_stored(h, &created).await;
    let mut updated = full("ann");
    h.given(&updated).await;
    updated.data = Arc::from(data);
    updated.revision = h.update(&updated, Revision::FIRST).await.expect("update");
    assert_stored(h, &updated).await;
}

/// No data is kept as no data, and any single byte as that byte.
pub async fn data_of_zero_and_one_bytes_is_kept(h: Harness) {
    for data in [&b""[..], b"\x00", b"\x01", b" ", b"0", b"\n", b"\x7f", b"\x80", b"\xff"] {
        assert_kept(&h, data).await;
    }
}

/// Data may hold every byte value, in any order: data is not text.
pub async fn data_of_every_byte_value_is_kept(h: Harness) {
    let rising: Vec<u8> = (0..=255).collect();
    let falling: Vec<u8> = (0..=255).rev().collect();
    assert_kept(&h, &rising).await;
    assert_kept(&h, &falling).await;
}

/// NUL bytes are kept at the ends and in between. Catches C strings and padded columns.
pub async fn data_with_zero_bytes_is_kept(h: Harness) {
    for data in [&b"\x00\x00\x00"[..], b"\x00a", b"a\x00", b"a\x00\x00b", b"  \x00  "] {
        assert_kept(&h, data).await;
    }
}

/// Data that resembles an encoding is kept: an escape, a null, a number, a document with keys that
/// a database might interpret.
pub async fn data_that_looks_like_something_is_kept(h: Harness) {
    for data in [
        "null",
        "\\x00ff",
        "0x41",
        "MTIz",
        "\u{1}{\"a.b\":1,\"$set\":{\"$ne\":null},\"\":{},\"a\\u0000b\":18446744073709551615,\"f\":1e-320}",
        "{\"b\":1,\"a\":2,\"a\":3}",
        "  {\"spaces\" :  1}\r\n",
        "'); DROP TABLE sessions; --",
        "ünïcödé \u{feff}\u{202e}🦊",
    ] {
        assert_kept(&h, data.as_bytes()).await;
    }
}

/// Data of the store's maximum size is kept, with bytes that neither compression nor an encoding
/// shortens much.
pub async fn data_of_the_largest_size_is_kept(h: Harness) {
    let size = h.store().capabilities().max_payload;
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let data: Vec<u8> = noise.take(size).collect();
    assert_kept(&h, &data).await;
}

/// `create` refuses one byte more, and stores nothing.
pub async fn data_beyond_the_largest_size_is_not_created(h: Harness) {
    let size = h.store().capabilities().max_payload;
    let mut large = record("ann");
    large.data = vec![b'x'; size + 1].into();
    assert_kind(h.store().create(Arc::new(large.clone()), None).await, ErrorKind::Invalid);
    assert!(h.load(large.id).await.is_none());
}

/// `update` refuses one byte more, and the stored data stays unchanged.
pub async fn data_beyond_the_largest_size_is_not_updated(h: Harness) {
    let before = full("ann");
    h.given(&before).await;
    let mut large = before.clone();
    large.label = Some("too large".to_owned());
    large.data = vec![b'x'; h.store().capabilities().max_payload + 1].into();
    assert_kind(h.update(&large, Revision::FIRST).await, ErrorKind::Invalid);
    assert_stored(&h, &before).await;
}

/// Data can shrink, vanish and grow again without remains of earlier data.
pub async fn data_that_shrinks_leaves_no_remains(h: Harness) {
    let mut record = full("ann");
    record.data = vec![b'a'; 40_000.min(h.store().capabilities().max_payload)].into();
    h.given(&record).await;
    for data in [&b"bbb"[..], b"c", b"", b"dd"] {
        record.data = Arc::from(data);
        record.revision = h.update(&record, record.revision).await.expect("update");
        assert_stored(&h, &record).await;
    }
}

/// Hashes and salts of every byte value are kept, with and without the identifier of a pepper key.
pub async fn hashes_of_every_byte_value_are_kept(h: Harness) {
    for first in (0_u8..=255).step_by(32) {
        let mut bytes = [0x80; SecretHash::LEN];
        (first..=first + 31).zip(&mut bytes[4..]).for_each(|(value, byte)| *byte = value);
        let keyed = SecretHash::from_bytes(bytes);
        bytes[..4].fill(0);
        let plain = SecretHash::from_bytes(bytes);
        let mut record = full("ann");
        let mut salt = [0; 32];
        salt.copy_from_slice(&bytes[4..]);
        let salt = RotationSalt::from_bytes(salt);
        let mut secret = SecretState::new(keyed.clone());
        secret.previous = Some(PreviousSecret::new(plain.clone(), salt.clone(), NOW));
        record.secret = Some(secret);
        let mut refresh = RefreshState::new(plain.clone(), at(9));
        refresh.secret.previous = Some(PreviousSecret::new(keyed.clone(), salt, at(1)));
        refresh.spent = vec![keyed, plain];
        record.refresh = Some(refresh);
        h.given(&record).await;
        assert_stored(&h, &record).await;
    }
}
