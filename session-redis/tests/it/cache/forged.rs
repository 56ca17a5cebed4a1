//! What others write under the cache's keys.

use std::time::Duration;

use session_conformance::assert_kind;
use session_conformance::fixtures::{at, full, record};
use session_core::{ErrorKind, SessionCache};
use session_redis::{KeyPrefix, RedisCache};

use super::lab::{Lab, assert_holds, entry, given, key, put, tombstone};

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
async fn an_entry_that_somebody_prolonged_is_refused() {
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
async fn an_entry_that_somebody_prolonged_keeps_nothing_out() {
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
            cache.remove(record.id).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused_and_keeps_nothing_out() {
    let Some(lab) = Lab::start() else { return };
    let (plain, keyed) = (lab.cache(), lab.cache_with_keys(&[1]));
    let record = full("ann");
    given(&plain, &tombstone(&record, 9, at(0))).await;
    let end = lab.stored(record.id).await;
    plain.remove(record.id).await.unwrap();
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
        end[..45].to_vec(),
        changed(0, &[2]),
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
    // Bodies are for readers to judge.
    for cut in [46, 46 + 20, 46 + 109, whole.len() - record.data.len() - 1] {
        lab.store(record.id, &whole[..cut]).await;
        lab.assert_refused(&plain, record.id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_type_is_refused_and_keeps_nothing_out() {
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
        cache.remove(record.id).await.unwrap();
    }
}

/// What an attacker can do who writes to the server and knows this crate.
#[tokio::test(flavor = "multi_thread")]
async fn forged_entries_are_believed_without_keys_and_refused_with_them() {
    let Some(lab) = Lab::start() else { return };
    let (believer, cautious, record) = (lab.cache(), lab.cache_with_keys(&[1]), full("ann"));
    let wrong_key = MacKeysOf(7).named(1);
    let forgers = [lab.cache(), lab.cache_with_keys(&[7]), lab.cache().with_mac_keys(wrong_key)];
    for forger in &forgers {
        for forged in [entry(&record, 1 << 62, at(9)), tombstone(&record, 1 << 62, at(9))] {
            given(forger, &forged).await;
            assert_holds(&believer, &forged).await;
            lab.assert_refused(&cautious, record.id).await;

            let honest = entry(&record, 3, at(0));
            given(&cautious, &honest).await;
            assert_holds(&cautious, &honest).await;
            cautious.remove(record.id).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_authenticated_keeps_nothing_out() {
    let Some(lab) = Lab::start() else { return };
    let (cautious, record) = (lab.cache_with_keys(&[2, 1]), full("ann"));
    for forger in [lab.cache(), lab.cache_with_keys(&[7])] {
        given(&forger, &tombstone(&record, 1 << 62, at(9))).await;
        let honest = entry(&record, 3, at(0));
        given(&cautious, &honest).await;
        assert_holds(&cautious, &honest).await;
        cautious.remove(record.id).await.unwrap();
    }
    given(&lab.cache_with_keys(&[1]), &entry(&record, 4, at(0))).await;
    assert!(!put(&cautious, &entry(&record, 3, at(0))).await.unwrap(), "a previous key's entry counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_without_a_miss_and_a_retired_one_is_refused() {
    let Some(lab) = Lab::start() else { return };
    let (record, other) = (full("ann"), full("bob"));
    let caches = [&[1][..], &[1, 2], &[2, 1], &[2]].map(|names| lab.cache_with_keys(names));
    for neighbours in caches.windows(2).take(2) {
        for (writer, reader) in [(0, 1), (1, 0)] {
            let put = entry(&record, 1, at(0));
            given(&neighbours[writer], &put).await;
            assert_holds(&neighbours[reader], &put).await;
            neighbours[0].remove(record.id).await.unwrap();
        }
    }
    let by_new = entry(&other, 1, at(0));
    given(&caches[2], &by_new).await;
    assert_holds(&caches[3], &by_new).await;
    given(&caches[0], &entry(&record, 1, at(0))).await;
    lab.assert_refused(&caches[3], record.id).await;
}

/// With keys an entry can be put back, but it does not get any younger by that.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_entry_still_says_when_it_was_verified() {
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
    assert_kind(cache.get(record.id).await, ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_cannot_be_given_a_longer_life_inside_of_its_bytes() {
    let Some(lab) = Lab::start() else { return };
    let (cache, record) = (lab.cache_with_keys(&[1]), full("ann"));
    assert!(cache.put_if_newer(entry(&record, 1, at(0)), Duration::from_secs(60)).await.unwrap());
    let mut longer = lab.stored(record.id).await;
    longer[18..26].copy_from_slice(&u64::MAX.to_be_bytes());
    lab.store(record.id, &longer).await;
    lab.assert_refused(&cache, record.id).await;
}

/// Makes a ring whose key is not the one that others know by its name.
struct MacKeysOf(u8);

impl MacKeysOf {
    fn named(&self, name: u32) -> session_redis::MacKeys {
        let name = session_redis::MacKeyId::new(std::num::NonZeroU32::new(name).unwrap());
        session_redis::MacKeys::new(name, &[self.0; 32]).unwrap()
    }
}
