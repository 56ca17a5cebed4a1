//! Commands, keys and times to live as the server sees them.

use std::time::Duration;

use session_conformance::fixtures::{SCOPE, at, full};
use session_core::SessionCache;
use session_redis::Connection;

use super::lab::{LONG, Lab, assert_holds, cache_connected, entry, given, key, put, tombstone};

const ROUNDS: u64 = 50;

/// Returns the commands that a server ran since its statistics were reset, without those of this
/// test and the `PING` each second.
async fn ran(lab: &Lab) -> Vec<(String, u64)> {
    let info: String = lab.ask("INFO commandstats").await;
    let lines = info.lines().filter_map(|line| line.strip_prefix("cmdstat_"));
    let counts = lines.map(|line| {
        let (name, rest) = line.split_once(":calls=").unwrap();
        (name.to_owned(), rest.split(',').next().unwrap().parse().unwrap())
    });
    let is_other =
        |name: &str| ["client|setinfo", "config|resetstat", "hello", "info", "ping"].contains(&name);
    let mut counts: Vec<_> = counts.filter(|(name, _)| !is_other(name)).collect();
    counts.sort();
    counts
}

fn counted(commands: &[&str]) -> Vec<(String, u64)> {
    commands.iter().map(|name| ((*name).to_owned(), ROUNDS)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_is_two_commands_and_a_put_one_script() {
    let Some(lab) = Lab::start() else { return };
    for cache in [lab.cache(), lab.cache_with_keys(&[1])] {
        let record = full("ann");
        given(&cache, &entry(&record, 1, at(0))).await;
        let () = lab.ask("CONFIG RESETSTAT").await;
        for _ in 0..ROUNDS {
            assert!(cache.get(SCOPE, record.id).await.unwrap().is_some());
        }
        assert_eq!(ran(&lab).await, counted(&["get", "pttl"]));

        let () = lab.ask("CONFIG RESETSTAT").await;
        for revision in 2..ROUNDS + 2 {
            given(&cache, &entry(&record, revision, at(0))).await;
        }
        assert_eq!(ran(&lab).await, counted(&["evalsha", "getrange", "pttl", "set"]));

        let () = lab.ask("CONFIG RESETSTAT").await;
        for _ in 0..ROUNDS {
            assert!(!put(&cache, &entry(&record, 1, at(0))).await.unwrap());
        }
        assert_eq!(ran(&lab).await, counted(&["evalsha", "getrange", "pttl"]));

        let () = lab.ask("CONFIG RESETSTAT").await;
        for _ in 0..ROUNDS {
            cache.remove(SCOPE, record.id).await.unwrap();
        }
        assert_eq!(ran(&lab).await, counted(&["unlink"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_named_as_documented_and_has_a_time_to_live() {
    let Some(lab) = Lab::start() else { return };
    let mut expected = Vec::new();
    for cache in [lab.cache(), lab.cache_with_keys(&[1])] {
        for (record, ttl) in [(full("ann"), LONG), (full("bob"), Duration::MAX), (full("eve"), Duration::MAX)]
        {
            assert!(cache.put_if_newer(entry(&record, 1, at(0)), ttl).await.unwrap());
            assert!(cache.put_if_newer(entry(&record, 2, at(0)), ttl).await.unwrap());
            let () = lab.ask(&format!("PERSIST {}", key(record.id))).await;
            assert!(cache.put_if_newer(entry(&record, 3, at(0)), ttl).await.unwrap());
            assert!(cache.put_if_newer(tombstone(&record, 4, at(0)), ttl).await.unwrap());
            expected.push(key(record.id));
        }
    }
    let mut keys: Vec<String> = lab.ask("KEYS *").await;
    keys.sort();
    expected.sort();
    assert_eq!(keys, expected);
    for key in keys {
        let ttl: u64 = lab.ask(&format!("PTTL {key}")).await;
        assert!((1..=3_600_000).contains(&ttl), "{ttl} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_is_cut_and_rounded_down() {
    let Some(lab) = Lab::start() else { return };
    let record = full("ann");
    let cache = lab.cache().with_max_ttl(Duration::from_secs(60)).unwrap();
    let put = entry(&record, 1, at(0));
    for (ttl, longest) in [(Duration::MAX, 60_000), (Duration::from_micros(30_000_999), 30_000)] {
        assert!(cache.put_if_newer(put.clone(), ttl).await.unwrap());
        let remaining: u64 = lab.ask(&format!("PTTL {}", key(record.id))).await;
        assert!((longest - 5_000..=longest).contains(&remaining), "{remaining} ms");
        assert_eq!(lab.stored(record.id).await[18..26], longest.to_be_bytes());
        assert_holds(&cache, &put).await;
        cache.remove(SCOPE, record.id).await.unwrap();
    }
    for end in [put, tombstone(&record, 2, at(0))] {
        assert!(!cache.put_if_newer(end, Duration::from_micros(999)).await.unwrap());
        assert!(!lab.exists(record.id).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_are_enough() {
    let Some(lab) = Lab::start() else { return };
    let rights = "~test:* -@all +get +pttl +eval +evalsha +getrange +set +unlink +ping";
    let () = lab.ask(&format!("ACL SETUSER cache on >secret {rights}")).await;
    let address = lab.url().replace("redis://", "redis://cache:secret@");
    let (cache, record) = (cache_connected(Connection::open(address).unwrap()), full("ann"));
    for put in [entry(&record, 1, at(0)), entry(&record, 2, at(0)), tombstone(&record, 3, at(0))] {
        given(&cache, &put).await;
        assert_holds(&cache, &put).await;
    }
    let () = lab.ask(&format!("PERSIST {}", key(record.id))).await;
    lab.assert_refused(&cache, record.id).await;
    lab.store(record.id, b"garbage").await;
    lab.assert_refused(&cache, record.id).await;
    let () = lab.ask(&format!("RPUSH {} a", key(record.id))).await;
    lab.assert_refused(&cache, record.id).await;
    given(&cache, &entry(&record, 1, at(0))).await;
    cache.remove(SCOPE, record.id).await.unwrap();
    assert!(!lab.exists(record.id).await);
}

/// No error and no debug output contains a secret or a key.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_printed() {
    let Some(lab) = Lab::start() else { return };
    let cache = lab.cache_with_keys(&[0xab]);
    let record = full("ann");
    lab.store(record.id, b"garbage").await;
    let printed = format!("{:?} {cache:?}", lab.assert_refused(&cache, record.id).await);
    assert!(printed.contains("RedisCache") && printed.contains("MacKeyId(171)"), "{printed}");
    for secret in ["171, 171", "garbage", &record.id.to_string()] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}
