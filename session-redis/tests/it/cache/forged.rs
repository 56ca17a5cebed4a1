//! Entries that other programs write under the cache's keys.

use std::time::Duration;

use session_conformance::assert_kind;
use session_conformance::fixtures::{SCOPE, at, full, record};
use session_core::{ErrorKind, Scope, SessionCache};
use session_redis::{KeyPrefix, RedisCache};

use super::lab::{Lab, assert_holds, entry, eventually, given, key, key_in, put, tombstone};

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_copied_to_another_key_is_refused() {
    let Some(lab) = Lab::start() else { return };
    for cache in [lab.cache(), lab.cache_with_keys(&[1])] {
        for original in [entry(&full("ann"), 1, at(0)), tombstone(&record("ann"), 2, at(0))] {
            let other = record("ann");
            given(&cache, &original).await;
            let copied: bool = lab.ask(&format!("COPY {} {}", key(original.id), key(other.id))).await;
            assert!(copied);
            let error = lab.assert_refused(&cache, other.id).await;
            assert!(error.to_string().contains("another session"), "{error}");
            assert_holds(&cache, &original).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_copied_to_another_scope_is_refused() {
    let Some(lab) = Lab::start() else { return };
    let other = Scope::from_bytes([9; 16]);
    for cache in [lab.cache(), lab.cache_with_keys(&[1])] {
        for original in [entry(&full("ann"), 1, at(0)), tombstone(&record("ann"), 2, at(0))] {
            let (from, to) = (key(original.id), key_in(other, original.id));
            given(&cache, &original).await;
            let copied: bool = lab.ask(&format!("COPY {from} {to}")).await;
            assert!(copied);
            let error = assert_kind(cache.get(other, original.id).await, ErrorKind::Corrupt);
            assert!(error.to_string().contains("another session or scope"), "{error}");
            let is_gone = async || !lab.ask::<bool>(&format!("EXISTS {to}")).await;
            eventually("the refused entry is removed", is_gone).await;
            assert_holds(&cache, &original).await;
        }
    }
}

/// A client that can write to the server, but has no MAC key, cannot change the scope in an entry's
/// bytes either.
#[tokio::test(flavor = "multi_thread")]
async fn with_keys_an_entry_renamed_to_another_scope_is_refused() {
    let Some(lab) = Lab::start() else { return };
    let other = Scope::from_bytes([9; 16]);
    for original in [entry(&full("ann"), 1, at(0)), tombstone(&record("ann"), 2, at(0))] {
        given(&lab.cache_with_keys(&[1]), &original).await;
        let mut renamed = lab.stored(original.id).await;
        renamed[26..42].copy_from_slice(other.as_bytes());
        let to = key_in(other, original.id);
        let () = lab.ask_with(&format!("SET {to}"), &[&renamed, b"PX", b"600000"]).await;
        let accepted = lab.cache().get(other, original.id).await.unwrap().map(|hit| hit.entry.scope);
        assert_eq!(accepted, Some(other));
        assert_kind(lab.cache_with_keys(&[1]).get(other, original.id).await, ErrorKind::Corrupt);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_an_entry_of_another_prefix_is_refused() {
    let Some(lab) = Lab::start() else { return };
    let elsewhere = |cache: RedisCache| cache.with_prefix("best".parse::<KeyPrefix>().unwrap());
    for original in [entry(&full("ann"), 1, at(0)), tombstone(&record("ann"), 2, at(0))] {
        given(&elsewhere(lab.cache_with_keys(&[1])), &original).await;
        let from = key(original.id).replacen("test", "best", 1);
        let copied: bool = lab.ask(&format!("COPY {from} {}", key(original.id))).await;
        assert!(copied);
        assert_holds(&lab.cache(), &original).await;
        lab.assert_refused(&lab.cache_with_keys(&[1]), original.id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prolonged_entry_is_refused() {
    let Some(lab) = Lab::start() else { return };
    let cache = lab.cache();
    for original in [entry(&full("ann"), 1, at(0)), tombstone(&record("ann"), 2, at(0))] {
        let key = key(original.id);
        let prolonged = [
            (format!("PERSIST {key}"), "without a time to live"),
            (format!("PEXPIRE {key} 660000"), "longer than it was given"),
        ];
        for (command, detail) in prolonged {
            given(&cache, &original).await;
            let () = lab.ask(&command).await;
            let error = lab.assert_refused(&cache, original.id).await;
            assert!(error.to_string().contains(detail), "{error}");
        }
        given(&cache, &original).await;
        let () = lab.ask(&format!("PEXPIRE {key} 599000")).await;
        assert_holds(&cache, &original).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prolonged_entry_does_not_prevent_a_new_one() {
    let Some(lab) = Lab::start() else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    for command in ["PERSIST {}", "PEXPIRE {} 660000"] {
        for blocking in [entry(&record, 9, at(0)), tombstone(&record, 9, at(0))] {
            given(&cache, &blocking).await;
            assert!(!put(&cache, &entry(&record, 1, at(0))).await.unwrap());
            let () = lab.ask(&command.replace("{}", &key(record.id))).await;
            let older = entry(&record, 1, at(0));
            given(&cache, &older).await;
            assert_holds(&cache, &older).await;
            cache.remove(SCOPE, record.id).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused_and_does_not_prevent_a_new_entry() {
    let Some(lab) = Lab::start() else { return };
    let (plain, keyed) = (lab.cache(), lab.cache_with_keys(&[1]));
    let record = full("ann");
    given(&plain, &tombstone(&record, 9, at(0))).await;
    let end = lab.stored(record.id).await;
    plain.remove(SCOPE, record.id).await.unwrap();
    given(&plain, &entry(&record, 9, at(0))).await;
    let whole = lab.stored(record.id).await;
    let changed = |from: usize, bytes: &[u8]| {
        let mut changed = end.clone();
        changed[from..from + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let garbage = [
        Vec::new(),
        b"x".to_vec(),
        vec![0xff; 500],
        end[..61].to_vec(),
        changed(0, &[1]),
        changed(1, b"X"),
        changed(2, &[0; 8]),
        changed(2, &[0x80, 0, 0, 0, 0, 0, 0, 1]),
    ];
    for cache in [&plain, &keyed] {
        for garbage in &garbage {
            lab.store(record.id, garbage).await;
            lab.assert_refused(cache, record.id).await;
            lab.store(record.id, garbage).await;
            let put = entry(&record, 1, at(0));
            given(cache, &put).await;
            assert_holds(cache, &put).await;
        }
    }
    // Readers check the bodies, scripts do not.
    for cut in [62, 62 + 20, 62 + 109, whole.len() - record.data.len() - 1] {
        lab.store(record.id, &whole[..cut]).await;
        lab.assert_refused(&plain, record.id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_type_is_refused_and_does_not_prevent_a_new_entry() {
    let Some(lab) = Lab::start() else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    for command in ["RPUSH {} a b", "HSET {} a b", "ZADD {} 1 a"] {
        let () = lab.ask(&command.replace("{}", &key(record.id))).await;
        let error = lab.assert_refused(&cache, record.id).await;
        assert!(error.to_string().contains("another type"), "{error}");
        let () = lab.ask(&command.replace("{}", &key(record.id))).await;
        for put in [entry(&record, 1, at(0)), tombstone(&record, 2, at(0))] {
            given(&cache, &put).await;
            assert_holds(&cache, &put).await;
        }
        let ttl: i64 = lab.ask(&format!("PTTL {}", key(record.id))).await;
        assert!(ttl > 0, "the list had none");
        cache.remove(SCOPE, record.id).await.unwrap();
    }
}

/// The attacks of a client that can write to the server and knows this crate.
#[tokio::test(flavor = "multi_thread")]
async fn forged_entries_are_accepted_only_without_keys() {
    let Some(lab) = Lab::start() else { return };
    let (trusting, cautious, record) = (lab.cache(), lab.cache_with_keys(&[1]), full("ann"));
    let wrong_key = MacKeysOf(7).named(1);
    let forgers = [lab.cache(), lab.cache_with_keys(&[7]), lab.cache().with_mac_keys(wrong_key)];
    for forger in &forgers {
        for forged in [entry(&record, 1 << 62, at(9)), tombstone(&record, 1 << 62, at(9))] {
            given(forger, &forged).await;
            assert_holds(&trusting, &forged).await;
            lab.assert_refused(&cautious, record.id).await;

            let honest = entry(&record, 3, at(0));
            given(&cautious, &honest).await;
            assert_holds(&cautious, &honest).await;
            cautious.remove(SCOPE, record.id).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unauthenticated_entry_does_not_prevent_a_new_one() {
    let Some(lab) = Lab::start() else { return };
    let (cautious, record) = (lab.cache_with_keys(&[2, 1]), full("ann"));
    for forger in [lab.cache(), lab.cache_with_keys(&[7])] {
        given(&forger, &tombstone(&record, 1 << 62, at(9))).await;
        let honest = entry(&record, 3, at(0));
        given(&cautious, &honest).await;
        assert_holds(&cautious, &honest).await;
        cautious.remove(SCOPE, record.id).await.unwrap();
    }
    given(&lab.cache_with_keys(&[1]), &entry(&record, 4, at(0))).await;
    assert!(!put(&cautious, &entry(&record, 3, at(0))).await.unwrap(), "a previous key's entry counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_without_a_miss_and_retired_keys_are_refused() {
    let Some(lab) = Lab::start() else { return };
    let (record, other) = (full("ann"), full("bob"));
    let caches = [&[1][..], &[1, 2], &[2, 1], &[2]].map(|names| lab.cache_with_keys(names));
    for neighbours in caches.windows(2).take(2) {
        for (writer, reader) in [(0, 1), (1, 0)] {
            let put = entry(&record, 1, at(0));
            given(&neighbours[writer], &put).await;
            assert_holds(&neighbours[reader], &put).await;
            neighbours[0].remove(SCOPE, record.id).await.unwrap();
        }
    }
    let by_new = entry(&other, 1, at(0));
    given(&caches[2], &by_new).await;
    assert_holds(&caches[3], &by_new).await;
    given(&caches[0], &entry(&record, 1, at(0))).await;
    lab.assert_refused(&caches[3], record.id).await;
}

/// With keys an entry can be put back, but it does not become fresher.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_entry_keeps_its_verification_time() {
    let Some(lab) = Lab::start() else { return };
    let (cache, record) = (lab.cache_with_keys(&[1]), full("ann"));
    let earlier = entry(&record, 1, at(0));
    given(&cache, &earlier).await;
    let recorded = lab.stored(record.id).await;
    given(&cache, &entry(&record, 1, at(5_000))).await;
    given(&cache, &tombstone(&record, 2, at(9_000))).await;
    lab.store(record.id, &recorded).await;
    assert_holds(&cache, &earlier).await;
    let mut younger = recorded;
    younger[17] ^= 1;
    lab.store(record.id, &younger).await;
    assert_kind(cache.get(SCOPE, record.id).await, ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_time_to_live_inside_the_bytes_is_refused() {
    let Some(lab) = Lab::start() else { return };
    let (cache, record) = (lab.cache_with_keys(&[1]), full("ann"));
    assert!(cache.put_if_newer(entry(&record, 1, at(0)), Duration::from_secs(60)).await.unwrap());
    let mut longer = lab.stored(record.id).await;
    longer[18..26].copy_from_slice(&u64::MAX.to_be_bytes());
    lab.store(record.id, &longer).await;
    lab.assert_refused(&cache, record.id).await;
}

/// Makes a ring that has another key under the same name.
struct MacKeysOf(u8);

impl MacKeysOf {
    fn named(&self, name: u32) -> session_redis::MacKeys {
        let name = session_redis::MacKeyId::new(std::num::NonZeroU32::new(name).unwrap());
        session_redis::MacKeys::new(name, &[self.0; 32]).unwrap()
    }
}
