//! The bytes of a record.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use session_conformance::fixtures::{NOW, full, logged_out, record};
use session_core::bytes::{HEAD, Part, Unreadable, beginning_at, read, read_end, write};
use session_core::{ErrorKind, Revision, SessionRecord};

/// Length of the fields that follow the user id.
const MORE: usize = 31;

fn array<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    bytes[from..from + N].try_into().unwrap()
}

fn round_trip(record: &SessionRecord) {
    let bytes = record.to_bytes().unwrap();
    assert_eq!(SessionRecord::from_bytes(&bytes).unwrap(), *record);
    assert!(bytes.len() > HEAD);
}

#[test]
fn records_come_back_whole() {
    round_trip(&full("ann"));
    round_trip(&record("ann"));
    round_trip(&full("ann").into_ended(logged_out(9)));
    round_trip(&full("ann").into_ended(logged_out(9)).into_erased());
}

#[test]
fn a_redacted_active_session_has_no_tail_and_a_whole_one_must_have() {
    let record = full("ann");
    let bytes = write(&record, record.revision).unwrap();
    let more = HEAD + usize::from(bytes[3]);
    let profile = u32::from_be_bytes(array(&bytes, more + 27)) as usize;
    let end = more + MORE + usize::from(bytes[more + 26]) + profile;
    assert_eq!(read(&bytes[..end], Part::Redacted).unwrap(), record.redacted());
    assert!(read(&bytes[..end], Part::Whole).is_err());
}

#[test]
fn the_places_that_scripts_read_hold_what_they_expect() {
    let record = full("ann");
    let bytes = write(&record, record.revision).unwrap();
    assert_eq!(bytes[..4], [1, b'A', b'w', 3]);
    assert_eq!(array(&bytes, 4), record.revision.get().to_be_bytes());
    assert_eq!(array(&bytes, 12), NOW.as_millis().to_be_bytes());
    assert_eq!(array(&bytes, 20), record.expires_at.as_millis().to_be_bytes());
    assert_eq!(array(&bytes, 36), record.last_seen_at.as_millis().to_be_bytes());
    assert_eq!(array(&bytes, 63), *record.id.as_bytes());
    assert_eq!(&bytes[79..82], b"ann");
}

#[test]
fn the_beginning_shows_whether_a_save_changed_its_fields() {
    let stored = full("ann");
    let mut saved = stored.clone();
    saved.data = Arc::from(&b"\x01{}"[..]);
    saved.label = Some("desk".to_owned());
    saved.authenticated_at = stored.authenticated_at.saturating_add(Duration::from_secs(1));
    let begins = |saved: &SessionRecord| {
        let value = write(saved, stored.revision.next()).unwrap();
        let stored_value = write(&stored, stored.revision).unwrap();
        stored_value.starts_with(&beginning_at(&value, stored.revision))
    };
    assert!(begins(&saved));
    let changed = |change: fn(&mut SessionRecord)| {
        let mut saved = saved.clone();
        change(&mut saved);
        begins(&saved)
    };
    assert!(!changed(|saved| saved.expires_at = saved.expires_at.saturating_add(Duration::from_secs(1))));
    assert!(!changed(
        |saved| saved.last_seen_at = saved.last_seen_at.saturating_add(Duration::from_millis(1))
    ));
    assert!(!changed(|saved| saved.idle_timeout = None));
    assert!(!changed(|saved| saved.user_id = Some("bob".parse().unwrap())));
}

#[test]
fn an_invalid_record_is_refused_and_not_cut() {
    let mut record = full("ann");
    record.username = Some("x".repeat(256));
    assert_eq!(record.to_bytes().unwrap_err().kind(), ErrorKind::Invalid);
    record.username = Some("x".repeat(255));
    round_trip(&record);
}

#[test]
fn another_format_is_refused() {
    let mut bytes = write(&full("ann"), Revision::FIRST).unwrap();
    bytes[0] = 2;
    assert_eq!(read(&bytes, Part::Whole), Err(Unreadable("the stored value has another format")));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes, Part::Whole);
        let _ = read_end(&bytes);
    }

    #[test]
    fn damaged_records_are_read_or_refused(at in 0_usize..600, byte in any::<u8>(), cut in 0_usize..900) {
        let mut bytes = write(&full("ann"), Revision::FIRST).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read(&bytes, Part::Whole);
        bytes.truncate(cut);
        let _ = read(&bytes, Part::Redacted);
    }
}
