use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{DataLimits, ErrorKind, SaveMark, SessionData};

fn limits() -> DataLimits {
    DataLimits::default()
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(json!(1), |inner, _| json!([inner]))
}

#[test]
fn no_data_is_no_bytes() {
    assert!(SessionData::default().encode(&limits()).unwrap().is_empty());
    assert!(SessionData::decode(&[], &limits()).unwrap().is_empty());
}

#[test]
fn edges_of_json_round_trip() {
    let mut data = SessionData::default();
    for (key, value) in [
        ("a.b", json!(u64::MAX)),
        ("$where", json!(i64::MIN)),
        ("", json!(0.1)),
        ("nul\0key", json!("nul\0value")),
        ("e\u{301}", json!("\u{10ffff}\u{1f600}")),
        ("null", Value::Null),
    ] {
        data.set_value(key, Some(value));
    }
    let bytes = data.encode(&limits()).unwrap();
    assert_eq!(SessionData::decode(&bytes, &limits()).unwrap(), data);
}

/// Runs with and without `serde_json/arbitrary_precision`, which other crates may enable.
#[test]
fn the_bytes_do_not_depend_on_features_of_the_json_crate() {
    let mut data = SessionData::default();
    data.insert("a", &[1.0, -0.5, 1e100]).unwrap();
    data.insert("b", &u64::MAX).unwrap();
    data.insert("c", &i64::MIN).unwrap();
    let bytes = data.encode(&limits()).unwrap();
    let golden = b"\x01{\"a\":[1.0,-0.5,1e+100],\"b\":18446744073709551615,\"c\":-9223372036854775808}";
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(golden));
    let read = SessionData::decode(&bytes, &limits()).unwrap();
    assert_eq!(read.encode(&limits()).unwrap(), bytes);
    assert_eq!(read.get::<Vec<f64>>("a").unwrap().unwrap(), [1.0, -0.5, 1e100]);
    assert_eq!(read.get::<u64>("b").unwrap(), Some(u64::MAX));
}

#[test]
fn null_is_not_absent() {
    let mut data = SessionData::default();
    data.insert("key", &Value::Null).unwrap();
    let data = SessionData::decode(&data.encode(&limits()).unwrap(), &limits()).unwrap();
    assert_eq!(data.value("key"), Some(&Value::Null));
    assert_eq!(data.value("other"), None);
}

#[test]
fn every_limit_holds_on_both_sides() {
    let with = |value| [("key".to_owned(), value)].into_iter().collect::<SessionData>();
    let wide = DataLimits { max_bytes: usize::MAX, max_depth: usize::MAX, max_elements: usize::MAX };
    let too_much = [
        (with(json!("x".repeat(64 * 1024))), "bytes"),
        (with(nested(33)), "depth"),
        (with(json!(vec![0; 10_000])), "elements"),
    ];
    for (data, what) in too_much {
        assert_eq!(data.encode(&limits()).unwrap_err().kind(), ErrorKind::Invalid, "{what}");
        let bytes = data.encode(&wide).unwrap();
        assert_eq!(SessionData::decode(&bytes, &limits()).unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
    }
    assert!(with(nested(32)).encode(&limits()).is_ok());
    assert!(with(json!(vec![0; 9_999])).encode(&limits()).is_ok());
}

#[test]
fn the_size_limit_is_exact() {
    let data: SessionData = [("k".to_owned(), json!("x".repeat(100)))].into_iter().collect();
    let size = data.encode(&limits()).unwrap().len();
    assert!(data.encode(&limits().with_max_bytes(size)).is_ok());
    assert!(data.encode(&limits().with_max_bytes(size - 1)).is_err());
}

#[test]
fn unknown_codecs_and_damaged_bytes_are_corrupt() {
    for bytes in [&[0][..], &[2, b'{', b'}'], b"\x01", b"\x01[]", b"\x01{\"a\":", b"\x01{} ", b"{}"] {
        let kind = SessionData::decode(bytes, &limits()).map_err(|error| error.kind());
        if bytes == b"\x01{} " {
            assert!(kind.is_ok(), "white space is JSON");
        } else {
            assert_eq!(kind, Err(ErrorKind::Corrupt), "{bytes:?}");
        }
    }
    let bomb = [&[1][..], br#"{"a":"#, &b"[".repeat(60_000)].concat();
    assert_eq!(SessionData::decode(&bomb, &limits()).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_value_of_another_type_is_an_error_and_not_absent() {
    let mut data = SessionData::default();
    data.insert("n", &5).unwrap();
    assert_eq!(data.get::<String>("n").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(data.get::<u8>("n").unwrap(), Some(5));
    assert_eq!(data.get::<u8>("m").unwrap(), None);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SessionData::decode(&bytes, &limits());
    }

    #[test]
    fn text_round_trips_byte_for_byte(key in ".*", text in ".*") {
        let data: SessionData = [(key, Value::String(text))].into_iter().collect();
        let bytes = data.encode(&limits()).unwrap();
        prop_assert_eq!(SessionData::decode(&bytes, &limits()).unwrap().encode(&limits()).unwrap(), bytes);
    }
}

#[test]
fn the_latest_four_saves_are_known_by_their_marks() {
    let mark = |n| SaveMark::new(n).unwrap();
    let mut data = SessionData::default();
    for n in 1..=5 {
        data.note_save(mark(n));
    }
    let bytes = data.encode(&limits()).unwrap();
    assert_eq!(bytes, b"\x02\0\0\0\x05\0\0\0\x04\0\0\0\x03\0\0\0\x02{}");
    let read = SessionData::decode(&bytes, &limits()).unwrap();
    assert!((2..=5).all(|n| read.holds_save(mark(n))), "the latest four");
    assert!(!read.holds_save(mark(1)));
    assert_eq!(read.encode(&limits()).unwrap(), bytes);
    assert_eq!(read, SessionData::default(), "equality ignores marks of saves");
}

#[test]
fn truncated_marks_are_corrupt() {
    for length in 1..17 {
        let bytes = [&[2][..], &[7; 16]].concat();
        let cut = SessionData::decode(&bytes[..length], &limits()).unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::Corrupt, "{length}");
    }
}

#[test]
fn debug_shows_no_key_and_no_value() {
    let mut data = SessionData::default();
    data.insert("card", "4111").unwrap();
    let shown = format!("{data:?}");
    assert!(!shown.contains("card") && !shown.contains("4111"), "{shown}");
}
