use std::num::NonZeroU32;

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use session_conformance::fixtures::{SCOPE, at, fixed, full, logged_out, record};
use session_core::{CacheBody, ErrorKind, Revision, SessionRecord, Timestamp};

use super::entry::{Stored, read, write};
use super::*;

const KEY: &str = "session-kit:{1}:cache:x";

fn ring(names: &[u32]) -> MacKeys {
    let key = |name: &u32| (MacKeyId::new(NonZeroU32::new(*name).unwrap()), [name.to_be_bytes()[3]; 32]);
    let (active, secret) = key(&names[0]);
    let previous = names[1..].iter().map(key);
    previous.fold(MacKeys::new(active, &secret).unwrap(), |ring, (name, secret)| {
        ring.with_previous(name, &secret).unwrap()
    })
}

fn active() -> CacheEntry {
    CacheEntry::of(SCOPE, full("ann").into(), at(7))
}

fn ended() -> CacheEntry {
    CacheEntry::of(SCOPE, full("ann").into_ended(logged_out(9)).into(), at(7))
}

fn written(entry: &CacheEntry, keys: Option<&MacKeys>) -> Vec<u8> {
    write(entry, 30_000, KEY, keys, PUT).unwrap()
}

fn is_refused(bytes: &[u8], key: &str, entry: &CacheEntry, keys: Option<&MacKeys>) -> bool {
    read(bytes, key, (entry.scope, entry.id), keys).is_err_and(|refusal| refusal != Refusal::Another)
}

#[test]
fn entries_come_back_whole_with_and_without_a_mac() {
    for keys in [None, Some(ring(&[1]))] {
        for entry in [active(), ended()] {
            let stored = read(&written(&entry, keys.as_ref()), KEY, (SCOPE, entry.id), keys.as_ref());
            assert_eq!(stored, Ok(Stored { entry, ttl: 30_000 }));
        }
    }
}

/// Golden files: a later version must read what this one wrote, or miss.
#[test]
fn entries_are_written_as_they_were() {
    let active = CacheEntry::of(SCOPE, fixed("ann").into(), at(7));
    let ended = CacheEntry::of(SCOPE, fixed("ann").into_ended(logged_out(9)).into(), at(7));
    let keys = ring(&[1]);
    for (name, entry, keys, golden) in [
        ("record", &active, None, include_str!("../../golden/cache-record.hex")),
        ("tombstone", &ended, None, include_str!("../../golden/cache-tombstone.hex")),
        ("record-mac", &active, Some(&keys), include_str!("../../golden/cache-record-mac.hex")),
    ] {
        assert_eq!(HEXLOWER.encode(&written(entry, keys)), golden.trim(), "cache-{name}.hex");
        let bytes = HEXLOWER.decode(golden.trim().as_bytes()).unwrap();
        assert_eq!(read(&bytes, KEY, (SCOPE, entry.id), keys).unwrap().entry, *entry);
    }
}

#[test]
fn numbers_come_back_at_the_ends_of_their_ranges() {
    let (lowest, highest) = (Revision::FIRST, Revision::new(i64::MAX.unsigned_abs()).unwrap());
    for (revision, time) in [(lowest, i64::MIN), (highest, i64::MAX), (highest, -1)] {
        for entry in [record("ann"), record("ann").into_ended(logged_out(9))] {
            let entry =
                CacheEntry::of(SCOPE, entry.with_revision(revision).into(), Timestamp::from_millis(time));
            assert_eq!(read(&written(&entry, None), KEY, (SCOPE, entry.id), None).unwrap().entry, entry);
        }
    }
}

#[test]
fn the_places_that_scripts_read_hold_what_they_expect() {
    let entry = ended();
    let bytes = written(&entry, Some(&ring(&[0x01_02])));
    assert_eq!(bytes[..2], [2, b'T']);
    assert_eq!(written(&active(), None)[..2], [2, b'R']);
    assert_eq!(bytes[2..10], entry.revision.get().to_be_bytes());
    assert_eq!(bytes[10..18], entry.verified_at.as_millis().to_be_bytes());
    assert_eq!(bytes[18..26], 30_000_u64.to_be_bytes());
    assert_eq!(&bytes[26..42], entry.scope.as_bytes());
    assert_eq!(&bytes[42..58], entry.id.as_bytes());
    assert_eq!(bytes[58..62], [0, 0, 1, 2]);
}

#[test]
fn an_entry_of_another_session_or_scope_is_not_a_damaged_one() {
    let (entry, other) = (active(), record("ann").id);
    let bytes = written(&entry, None);
    for key in [(SCOPE, other), (Scope::from_bytes([9; 16]), entry.id)] {
        assert_eq!(read(&bytes, KEY, key, None), Err(Refusal::Another));
    }
}

#[test]
fn a_mac_is_for_one_key_of_the_server() {
    let keys = Some(ring(&[1]));
    for entry in [active(), ended()] {
        let bytes = written(&entry, keys.as_ref());
        assert!(is_refused(&bytes, "session-kit:{2}:cache:x", &entry, keys.as_ref()));
        // The end of the key's name does not count as the beginning of the entry.
        assert!(is_refused(&bytes, &format!("{KEY}\u{1}"), &entry, keys.as_ref()));
    }
}

#[test]
fn with_keys_only_what_one_of_them_authenticated_is_read() {
    let entry = active();
    let (old, both, new) = (ring(&[1]), ring(&[2, 1]), ring(&[2]));
    let by_old = written(&entry, Some(&old));
    assert!(read(&by_old, KEY, (SCOPE, entry.id), Some(&both)).is_ok(), "a previous key");
    assert!(is_refused(&by_old, KEY, &entry, Some(&new)), "a key that was left out");
    assert_eq!(written(&entry, Some(&both)), written(&entry, Some(&new)), "the active key authenticates");
    assert!(is_refused(&written(&entry, None), KEY, &entry, Some(&both)), "no MAC");
    assert!(read(&by_old, KEY, (SCOPE, entry.id), None).is_ok(), "without keys every writer is trusted");
    let mut renamed = by_old;
    renamed[61] = 2;
    assert!(is_refused(&renamed, KEY, &entry, Some(&both)), "the MAC of another key");
}

#[test]
fn a_record_that_contradicts_its_entry_is_neither_written_nor_read() {
    let entry = active();
    let ended: SessionRecord = full("ann").into_ended(logged_out(9));
    let mut wrong = [entry.clone(), entry.clone(), entry.clone()];
    wrong[0].revision = entry.revision.next();
    wrong[1].id = record("ann").id;
    wrong[2].id = ended.id;
    wrong[2].revision = ended.revision;
    wrong[2].body = CacheBody::Record(ended.into());
    for wrong in wrong {
        assert_eq!(write(&wrong, 1, KEY, None, PUT).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let mut bytes = written(&entry, None);
    bytes[9] += 1;
    assert!(is_refused(&bytes, KEY, &entry, None));
}

#[test]
fn a_record_that_no_store_keeps_is_not_written() {
    let mut record = full("ann");
    record.username = Some("x".repeat(256));
    let entry = CacheEntry::of(SCOPE, record.into(), at(0));
    assert_eq!(write(&entry, 1, KEY, None, PUT).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn short_keys_and_duplicate_names_are_refused() {
    let name = MacKeyId::new(NonZeroU32::MIN);
    assert_eq!(MacKeys::new(name, &[1; 31]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(ring(&[1]).with_previous(name, &[2; 32]).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn no_key_is_printed() {
    let keys = MacKeys::new(MacKeyId::new(NonZeroU32::MIN), &[0xab; 32]).unwrap();
    let text = format!("{keys:?}");
    assert!(text.contains("MacKeyId(1)"), "{text}");
    assert!(!text.contains("171") && !text.to_lowercase().contains("ab, ab"), "{text}");
}

#[test]
fn a_longest_time_to_live_out_of_its_range_is_refused() {
    let set = |ttl| {
        let cache = RedisCache::new(Connection::open("redis://127.0.0.1/").unwrap()).with_max_ttl(ttl);
        cache.map(|cache| cache.max_ttl).map_err(|error| error.kind())
    };
    let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(86_400));
    assert_eq!((set(shortest), set(longest)), (Ok(shortest), Ok(longest)));
    for ttl in [Duration::ZERO, longest + shortest, Duration::MAX] {
        assert_eq!(set(ttl), Err(ErrorKind::Invalid));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), is_entry in any::<bool>()) {
        let (entry, keys) = (active(), ring(&[1]));
        let mut bytes = bytes;
        if is_entry && bytes.len() > 61 {
            bytes[..62].copy_from_slice(&written(&entry, Some(&keys))[..62]);
        }
        let _ = read(&bytes, KEY, (SCOPE, entry.id), None);
        prop_assert!(read(&bytes, KEY, (SCOPE, entry.id), Some(&keys)).is_err());
    }

    #[test]
    fn damaged_entries_are_read_or_refused(at in 0_usize..900, byte in any::<u8>(), cut in 0_usize..900) {
        for entry in [active(), ended()] {
            let mut bytes = written(&entry, None);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = read(&bytes, KEY, (SCOPE, entry.id), None);
        }
    }

    #[test]
    fn nothing_of_an_authentic_entry_can_be_changed(at in 0_usize..900, flip in 1_u8.., cut in 0_usize..900) {
        let keys = ring(&[1]);
        for entry in [active(), ended()] {
            let authentic = written(&entry, Some(&keys));
            let mut bytes = authentic.clone();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert!(read(&bytes, KEY, (SCOPE, entry.id), Some(&keys)).is_err(), "byte {at}");
            let cut = cut % authentic.len();
            prop_assert!(read(&authentic[..cut], KEY, (SCOPE, entry.id), Some(&keys)).is_err(), "cut at {cut}");
        }
    }
}
