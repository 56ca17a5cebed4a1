use proptest::prelude::*;
use session_conformance::fixtures::{NOW, full, logged_out, record};

use super::*;

fn round_trip(record: &SessionRecord) {
    let bytes = write(record, "create").unwrap();
    assert_eq!(read(&bytes, Part::Whole).unwrap(), *record);
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
    let bytes = write(&record, "create").unwrap();
    let profile = u32::from_be_bytes(array(&bytes, 106)) as usize;
    let end = HEAD + usize::from(bytes[104]) + usize::from(bytes[105]) + profile;
    assert_eq!(read(&bytes[..end], Part::Redacted).unwrap(), record.redacted());
    assert!(read(&bytes[..end], Part::Whole).is_err());
}

#[test]
fn the_places_that_scripts_read_hold_what_they_expect() {
    let record = full("ann");
    let bytes = write(&record, "create").unwrap();
    assert_eq!(bytes[..2], [1, b'A']);
    assert_eq!(bytes[3], b'w');
    assert_eq!(array(&bytes, 5), record.revision.get().to_be_bytes());
    assert_eq!(array(&bytes, 13), NOW.as_millis().to_be_bytes());
    assert_eq!(array(&bytes, 45), record.last_seen_at.as_millis().to_be_bytes());
    assert_eq!(array(&bytes, 72), *record.id.as_bytes());
    assert_eq!(&bytes[110..113], b"ann");
}

#[test]
fn another_format_is_refused() {
    let mut bytes = write(&full("ann"), "create").unwrap();
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
        let mut bytes = write(&full("ann"), "create").unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read(&bytes, Part::Whole);
        bytes.truncate(cut);
        let _ = read(&bytes, Part::Redacted);
    }
}
