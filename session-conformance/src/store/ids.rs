//! Session and device ids: 16 bytes that are compared as bytes.

use session_core::{DeviceId, EndScope, ListQuery, SessionId, SessionRecord};

use super::{apply, assert_all_stored, assert_stored, found, given_all};
use crate::fixtures::{NOW, anonymous, at, full, logged_out, record, touch, user};
use crate::harness::Harness;

fn session(bytes: [u8; 16]) -> SessionRecord {
    let id = SessionId::from_bytes(bytes).expect("an id");
    let mut record = SessionRecord::new(id, NOW, at(3_600_000));
    record.data = bytes.to_vec().into();
    record
}

/// Creates an id of version 7 from any bytes, with the fixed bits of the layout set.
fn id_of(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    bytes
}

async fn assert_apart(h: &Harness, records: &[SessionRecord]) {
    given_all(h, records).await;
    assert_all_stored(h, records).await;
    for (number, record) in records.iter().enumerate() {
        assert_eq!(apply(h, &[touch(record.id, 10)]).await, 1);
        assert_eq!(h.end(&EndScope::id(record.id), &logged_out(20)).await, [record.id]);
        assert_all_stored(h, &records[number + 1..]).await;
    }
}

/// Ids that differ in one bit of any byte are different sessions. Catches a key that omits bytes.
pub async fn session_ids_differ_by_any_byte(h: Harness) {
    let plain = id_of([0x24; 16]);
    let mut records = vec![session(plain)];
    for position in 0..16 {
        let mut bytes = plain;
        bytes[position] ^= 1;
        records.push(session(bytes));
    }
    assert_apart(&h, &records).await;
}

/// Ids whose bytes are letters of different case, directly or in Base64, are different sessions.
/// Catches a text column with a collation.
pub async fn session_ids_differ_by_case(h: Harness) {
    // In Base64, the two groups of three bytes are AAAA and aaaa.
    let groups = [[0x00, 0x00, 0x00], [0x69, 0xa6, 0x9a]];
    let mut records: Vec<_> = [*b"abcdefpqrstuvwxy", *b"ABCDEFpQrSTUVWXY"].map(|b| session(id_of(b))).into();
    for first in groups {
        for last in groups {
            let mut bytes = id_of([0x11; 16]);
            bytes[..3].copy_from_slice(&first);
            bytes[12..15].copy_from_slice(&last);
            records.push(session(bytes));
        }
    }
    assert_apart(&h, &records).await;
}

/// Ids that begin or end with zero bytes or spaces are neither padded nor trimmed.
pub async fn session_ids_are_not_trimmed(h: Harness) {
    let fillers = [0x00, 0x20, 0x0a, 0xff];
    let mut records: Vec<_> = fillers.map(|filler| session(id_of([filler; 16]))).into();
    for filler in fillers {
        let mut bytes = id_of([0x31; 16]);
        bytes[..2].fill(filler);
        records.push(session(bytes));
        let mut bytes = id_of([0x31; 16]);
        bytes[14..].fill(filler);
        records.push(session(bytes));
    }
    assert_apart(&h, &records).await;
}

/// Version 8 is for ids of existing systems: they carry no time.
pub async fn session_ids_of_version_8_are_kept(h: Harness) {
    let foreign = |seed: u8| {
        let mut bytes = id_of([seed; 16]);
        bytes[6] = 0x80 | (seed & 0x0f);
        session(bytes)
    };
    let mut twin = *foreign(0x55).id.as_bytes();
    twin[6] = 0x70 | (twin[6] & 0x0f);
    let records = [foreign(0x55), session(twin), foreign(0x01), foreign(0xfe), anonymous()];
    assert_apart(&h, &records).await;
}

/// Device ids of any version are compared up to the last byte.
pub async fn device_ids_are_compared_in_full(h: Harness) {
    let mut devices: Vec<_> = [0x00, 0x20, 0x41, 0x61, 0xff].map(|byte| [byte; 16]).into();
    for position in [0, 5, 6, 8, 15] {
        let mut bytes = [0x41; 16];
        bytes[position] = 0x42;
        devices.push(bytes);
    }
    let on = |bytes: &[u8; 16]| {
        let mut record = full("ann");
        record.device_id = Some(DeviceId::from_bytes(*bytes));
        record
    };
    let records: Vec<_> = devices.iter().map(on).collect();
    given_all(&h, &records).await;
    h.given(&record("ann")).await;
    for record in &records {
        assert_stored(&h, record).await;
        let device = record.device_id.expect("a device");
        let query = ListQuery::default().with_device(device);
        assert_eq!(found(&h, query.clone().with_user(user("ann"))).await, [record.id]);
        assert_eq!(found(&h, query).await, [record.id]);
        let scope = EndScope::Device { user: user("ann"), device };
        assert_eq!(h.end(&scope, &logged_out(1)).await, [record.id]);
    }
}
