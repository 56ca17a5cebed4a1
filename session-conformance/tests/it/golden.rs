//! Golden files: the bytes that this version writes, which every later version must read.
//!
//! A change of these bytes is a change for every stored session. A new format gets files of its own
//! beside these; the old ones stay, and are read.

use data_encoding::HEXLOWER;
use session_conformance::fixtures::{NOW, at, fixed, logged_out, record};
use session_core::bus::{Body, Message, Publisher};
use session_core::{
    Cursor, DataLimits, Invalidation, RefreshState, Revision, SaveMark, Scope, SecretState, SessionData,
    SessionId, SessionRecord,
};

macro_rules! golden {
    ($name:literal) => {
        Golden { name: $name, hex: include_str!(concat!("../../golden/", $name, ".hex")).trim() }
    };
}

/// The content of a golden file.
#[derive(Clone, Copy)]
struct Golden {
    name: &'static str,
    hex: &'static str,
}

/// Compares with a golden file.
#[track_caller]
fn is_golden(bytes: &[u8], golden: Golden) {
    let name = golden.name;
    assert_eq!(
        HEXLOWER.encode(bytes),
        golden.hex,
        "{name}.hex: such bytes are stored; write a new format instead"
    );
}

fn unhex(golden: Golden) -> Vec<u8> {
    HEXLOWER.decode(golden.hex.as_bytes()).unwrap()
}

fn id() -> SessionId {
    whole().id
}

/// A record with all fields.
fn whole() -> SessionRecord {
    fixed("ann")
}

#[test]
fn records() {
    let mut bare = record("ann");
    bare.id = id();
    let ended = whole().into_ended(logged_out(9));
    let golden = [
        (whole(), golden!("record-active")),
        (bare, golden!("record-bare")),
        (ended.clone(), golden!("record-ended")),
        (ended.into_erased(), golden!("record-erased")),
    ];
    for (record, golden) in golden {
        is_golden(&record.to_bytes().unwrap(), golden);
        assert_eq!(SessionRecord::from_bytes(&unhex(golden)).unwrap(), record);
    }
}

#[test]
fn secrets() {
    let (secret, refresh) = (whole().secret.unwrap(), whole().refresh.unwrap());
    is_golden(&secret.to_bytes(), golden!("secret"));
    is_golden(&refresh.to_bytes(), golden!("refresh"));
    assert_eq!(SecretState::from_bytes(&unhex(golden!("secret"))).unwrap(), secret);
    assert_eq!(RefreshState::from_bytes(&unhex(golden!("refresh"))).unwrap(), refresh);
}

#[test]
fn unconfirmed_secrets() {
    let secret = whole().secret.unwrap();
    let unconfirmed = secret.replaced_unconfirmed(secret.current.clone(), at(7));
    is_golden(&unconfirmed.to_bytes(), golden!("secret-unconfirmed"));
    assert_eq!(SecretState::from_bytes(&unhex(golden!("secret-unconfirmed"))).unwrap(), unconfirmed);
}

#[test]
fn data() {
    let limits = DataLimits::default();
    let mut data = SessionData::default();
    data.insert("cart", &["apple", "pear"]).unwrap();
    data.insert("ratio", &0.1).unwrap();
    is_golden(&data.encode(&limits).unwrap(), golden!("data"));
    data.note_save(SaveMark::new(7).unwrap());
    is_golden(&data.encode(&limits).unwrap(), golden!("data-saved"));
    let read = SessionData::decode(&unhex(golden!("data-saved")), &limits).unwrap();
    assert!(read == data && read.holds_save(SaveMark::new(7).unwrap()));
    assert_eq!(SessionData::decode(&unhex(golden!("data")), &limits).unwrap(), data);
}

#[test]
fn cursors() {
    let cursor = Cursor::new(NOW, id());
    is_golden(cursor.to_string().as_bytes(), golden!("cursor"));
    let text = String::from_utf8(unhex(golden!("cursor"))).unwrap();
    assert_eq!(text.parse::<Cursor>().unwrap(), cursor);
}

/// The bytes without the node's identifier, which is random.
fn anonymous(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[4..20].fill(0);
    bytes
}

#[test]
fn bus_messages() {
    let (publisher, scope) = (Publisher::new(), Scope::from_bytes([7; 16]));
    let changes = [
        Invalidation::new(id(), Revision::FIRST, false),
        Invalidation::new(id(), Revision::FIRST.next(), true),
    ];
    let sent = publisher.changes(scope, &changes).unwrap();
    is_golden(&anonymous(sent.bytes()), golden!("bus-changes"));
    drop(sent);
    is_golden(&anonymous(publisher.beat(1_767_225_600_000).bytes()), golden!("bus-beat"));
    is_golden(&anonymous(publisher.farewell().bytes()), golden!("bus-farewell"));
    let body = |golden: Golden| Message::decode(&unhex(golden)).unwrap().body;
    assert_eq!(body(golden!("bus-changes")), Body::Changes(scope, changes.to_vec()));
    assert_eq!(body(golden!("bus-beat")), Body::Beat(1_767_225_600_000));
    assert_eq!(body(golden!("bus-farewell")), Body::Farewell);
}

/// A later version may add kinds, reasons and formats. This version leaves such values unchanged.
#[test]
fn values_of_a_later_version_are_corrupt_and_not_misread() {
    let bytes = unhex(golden!("record-active"));
    for (place, later) in [(0, 2), (1, b'Z'), (2, b'z')] {
        let mut bytes = bytes.clone();
        bytes[place] = later;
        assert_eq!(SessionRecord::from_bytes(&bytes).unwrap_err().kind(), session_core::ErrorKind::Corrupt);
    }
    let mut message = unhex(golden!("bus-beat"));
    message[3] = b'?';
    assert_eq!(Message::decode(&message).unwrap().body, Body::Unknown, "the number still counts");
}
