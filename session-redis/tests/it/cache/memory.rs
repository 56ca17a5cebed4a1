//! The cache when the server refuses writes.

use session_conformance::assert_kind;
use session_conformance::fixtures::{SCOPE, at, full};
use session_core::{ErrorKind, SessionCache};
use session_redis::Connection;

use super::lab::{Lab, assert_holds, cache_connected, entry, given, put, tombstone};

const FULL: &str = "CONFIG SET maxmemory 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_is_stored_when_the_memory_is_full() {
    let Some(lab) = Lab::start() else { return };
    let (cache, known, unknown) = (lab.cache(), full("ann"), full("bob"));
    given(&cache, &entry(&known, 1, at(0))).await;
    let () = lab.ask(FULL).await;
    for record in [&known, &unknown] {
        let end = tombstone(record, 2, at(1));
        given(&cache, &end).await;
        assert_holds(&cache, &end).await;
        assert!(!put(&cache, &entry(record, 3, at(2))).await.unwrap(), "a record does not replace it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_record_is_refused_while_the_memory_is_full() {
    let Some(lab) = Lab::start() else { return };
    let (cache, known, unknown) = (lab.cache(), full("ann"), full("bob"));
    let held = entry(&known, 2, at(0));
    given(&cache, &held).await;
    let () = lab.ask(FULL).await;
    let error = assert_kind(put(&cache, &entry(&unknown, 1, at(0))).await, ErrorKind::Unavailable);
    assert!(error.to_string().contains("memory is full"), "{error}");
    assert_eq!(cache.get(SCOPE, unknown.id).await.unwrap(), None);
    assert_holds(&cache, &held).await;
    assert!(!put(&cache, &entry(&known, 1, at(9))).await.unwrap(), "an older record is not stored");
    let newer = entry(&known, 3, at(0));
    given(&cache, &newer).await;
    assert_holds(&cache, &newer).await;
    cache.remove(SCOPE, known.id).await.unwrap();
    assert_eq!(cache.get(SCOPE, known.id).await.unwrap(), None);

    let () = lab.ask("CONFIG SET maxmemory 0").await;
    given(&cache, &entry(&unknown, 1, at(0))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_removed_when_the_memory_is_full() {
    let Some(lab) = Lab::start() else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    lab.store(record.id, b"garbage").await;
    let () = lab.ask(FULL).await;
    lab.assert_refused(&cache, record.id).await;
}

/// The server lets this user remove entries, but not store them.
#[tokio::test(flavor = "multi_thread")]
async fn an_outdated_entry_is_removed_if_the_new_one_is_not_stored() {
    let Some(lab) = Lab::start() else { return };
    let () = lab.ask("ACL SETUSER limited on >secret ~* &* +@all -set").await;
    let address = lab.url().replace("redis://", "redis://limited:secret@");
    let (free, limited) = (lab.cache(), cache_connected(Connection::open(address).unwrap()));
    let record = full("ann");
    for new in [tombstone(&record, 2, at(1)), entry(&record, 2, at(1))] {
        given(&free, &entry(&record, 1, at(0))).await;
        put(&limited, &new).await.unwrap_err();
        assert_eq!(free.get(SCOPE, record.id).await.unwrap(), None, "the outdated entry is still there");
    }
    given(&free, &entry(&record, 3, at(0))).await;
    put(&limited, &entry(&record, 2, at(0))).await.expect("nothing is stored, and nothing removed");
    assert_holds(&free, &entry(&record, 3, at(0))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_its_replicas_serves_reads_only() {
    let Some(lab) = Lab::start() else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    let held = entry(&record, 1, at(0));
    given(&cache, &held).await;
    let () = lab.ask("CONFIG SET min-replicas-to-write 1").await;
    for new in [tombstone(&record, 2, at(1)), entry(&record, 2, at(1))] {
        let error = assert_kind(put(&cache, &new).await, ErrorKind::Unavailable);
        assert!(error.to_string().contains("replicas"), "{error}");
        assert_holds(&cache, &held).await;
    }
    assert_kind(cache.remove(SCOPE, record.id).await, ErrorKind::Unavailable);
}

/// The server may evict any entry, but returns each other entry as it was last stored.
#[tokio::test(flavor = "multi_thread")]
async fn an_evicting_server_loses_entries_and_returns_no_wrong_one() {
    let Some(lab) = Lab::start_with(["--maxmemory-policy", "allkeys-lru"]) else { return };
    let cache = lab.cache();
    let info: String = lab.ask("INFO memory").await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.parse::<u64>().ok()).unwrap();
    let () = lab.ask(&format!("CONFIG SET maxmemory {}", used + 2_000_000)).await;
    let mut record = full("ann");
    record.data = vec![7; 20_000].into();
    let mut puts = Vec::new();
    for _ in 0..200 {
        record.id = full("ann").id;
        let new = entry(&record, 1, at(0));
        given(&cache, &new).await;
        puts.push(new);
    }
    let mut lost = 0;
    for old in &puts {
        match cache.get(SCOPE, old.id).await.unwrap() {
            Some(found) => assert_eq!(found.entry, *old),
            None => lost += 1,
        }
    }
    assert!((1..200).contains(&lost), "{lost} of 200 are lost");
}
