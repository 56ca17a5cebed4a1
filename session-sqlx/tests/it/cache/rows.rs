//! The rows of the table: the order of entries, their time to live, foreign writes and expiry.

use std::time::Duration;

use session_conformance::assert_kind;
use session_conformance::fixtures::{SCOPE, at, full, record};
use session_core::{CacheEntry, DeviceKind, ErrorKind, Scope, SessionCache, SessionRecord, Timestamp};

use super::lab::{LONG, Lab, assert_holds, entry, eventually, given, put, tombstone};

type Make = fn(&SessionRecord, u64, Timestamp) -> CacheEntry;

/// Checks the rule of `CacheEntry::replaces`, at the limits of its numbers.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_orders_entries_by_the_rule_of_replaces() {
    const NUMBERS: [(u64, i64); 6] =
        [(1, i64::MIN), (1, -1), (1, i64::MAX), (2, 0), (1 << 53, 0), ((1 << 63) - 1, i64::MIN)];
    let Some(lab) = Lab::shared().await else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    for first in [entry as Make, tombstone] {
        for second in [entry as Make, tombstone] {
            for (there, new) in NUMBERS.iter().flat_map(|there| NUMBERS.map(|new| (*there, new))) {
                let made =
                    |make: Make, (revision, time)| make(&record, revision, Timestamp::from_millis(time));
                let (there, new) = (made(first, there), made(second, new));
                given(&cache, &there).await;
                assert_eq!(put(&cache, &new).await.unwrap(), new.replaces(&there), "{new:?} over {there:?}");
                assert_holds(&cache, if new.replaces(&there) { &new } else { &there }).await;
                cache.remove(SCOPE, record.id).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_comes_back() {
    let Some(lab) = Lab::shared().await else { return };
    let cache = lab.cache();
    let mut odd = full("ann");
    odd.label = Some("\u{1}\u{7f}\"\\/\u{2028} \u{1f600}".to_owned());
    odd.data = (0..=255).collect::<Vec<u8>>().into();
    let mut client = (*odd.client).clone();
    client.user_agent = Some(String::new());
    client.geo.coordinates = Some((0.1 + 0.2, -f64::MIN_POSITIVE));
    client.device.kind = Some(DeviceKind::Bot);
    odd.client = client.into();
    odd.expires_at = Timestamp::from_millis(odd.created_at.as_millis() + 1);
    odd.idle_timeout = Some(Duration::from_millis(1));
    let mut large = record("bob");
    large.data = vec![0xff; 16 * 1024 * 1024].into();
    for record in [odd, large] {
        let put = entry(&record, 1, at(0));
        given(&cache, &put).await;
        assert_holds(&cache, &put).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_clock_measures_the_time_to_live() {
    let Some(lab) = Lab::shared().await else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    let put = entry(&record, 1, at(0));
    given(&cache, &put).await;
    let remaining = cache.get(SCOPE, record.id).await.unwrap().unwrap().remaining;
    assert!(remaining <= LONG && remaining > LONG - Duration::from_secs(60), "{remaining:?}");
    lab.forge(record.id, "expires_at = expires_at - 540000").await;
    let remaining = cache.get(SCOPE, record.id).await.unwrap().unwrap().remaining;
    assert!(remaining <= Duration::from_secs(60), "{remaining:?}");
    lab.forge(record.id, "expires_at = expires_at - 60000").await;
    assert_eq!(cache.get(SCOPE, record.id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_entry_does_not_block_a_put() {
    let Some(lab) = Lab::shared().await else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    for there in [entry(&record, 9, at(9)), tombstone(&record, 9, at(9))] {
        given(&cache, &there).await;
        let older = entry(&record, 1, at(0));
        assert!(!put(&cache, &older).await.unwrap());
        lab.forge(record.id, "expires_at = expires_at - 600000").await;
        given(&cache, &older).await;
        assert_holds(&cache, &older).await;
        cache.remove(SCOPE, record.id).await.unwrap();
    }
}

/// The same happens if the clock of the server was set back.
#[tokio::test(flavor = "multi_thread")]
async fn an_extended_entry_is_refused_and_does_not_block_a_put() {
    let Some(lab) = Lab::shared().await else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    for there in [entry(&record, 9, at(9)), tombstone(&record, 9, at(9))] {
        given(&cache, &there).await;
        lab.forge(record.id, "expires_at = expires_at + 60000").await;
        let error = lab.assert_refused(&cache, record.id).await;
        assert!(error.to_string().contains("outlives its time to live"), "{error}");
        given(&cache, &there).await;
        lab.forge(record.id, "expires_at = expires_at + 60000").await;
        let older = entry(&record, 1, at(0));
        given(&cache, &older).await;
        assert_holds(&cache, &older).await;
        cache.remove(SCOPE, record.id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_rows_are_refused_and_removed() {
    let Some(lab) = Lab::shared().await else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    for make in [entry as Make, tombstone] {
        for change in [
            "body = ''",
            "body = 'x'",
            r"body = decode(repeat('ff', 500), 'hex')",
            "body = overlay(body PLACING decode('01', 'hex') FROM 1)",
            "body = overlay(body PLACING 'X'::bytea FROM 2)",
            "body = overlay(body PLACING decode('ff', 'hex') FROM 18)",
            "body = overlay(body PLACING decode('ff', 'hex') FROM 34)",
            "body = overlay(body PLACING decode('ff', 'hex') FROM 35)",
            "body = overlay(body PLACING decode('ff', 'hex') FROM 40)",
            "body = substring(body FROM 1 FOR octet_length(body) - 1)",
            "body = body || decode('00', 'hex')",
            "revision = 0",
            "revision = -5",
            "tombstone = NOT tombstone",
        ] {
            given(&cache, &make(&record, 3, at(0))).await;
            lab.forge(record.id, change).await;
            let error = lab.assert_refused(&cache, record.id).await;
            assert_eq!((error.backend(), error.operation()), ("postgres", "get"), "{change}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_copied_to_another_key_is_refused() {
    let Some(lab) = Lab::shared().await else { return };
    let cache = lab.cache();
    for original in [entry(&full("ann"), 1, at(0)), tombstone(&record("ann"), 2, at(0))] {
        let other = record("ann");
        given(&cache, &original).await;
        lab.run(&format!(
            "INSERT INTO {{t}} SELECT scope, '{}', revision, verified_at, tombstone, ttl_ms, expires_at, body FROM {{t}}
                WHERE id = '{}'",
            other.id, original.id,
        ))
        .await;
        let error = lab.assert_refused(&cache, other.id).await;
        assert!(error.to_string().contains("another session"), "{error}");
        assert_holds(&cache, &original).await;
    }
}

/// The same holds for a row that was moved: its bytes still name the scope that they were written
/// for.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_copied_to_another_scope_is_refused() {
    let Some(lab) = Lab::shared().await else { return };
    let (cache, other) = (lab.cache(), Scope::from_bytes([9; 16]));
    let other_uuid = format!("'{other}'::uuid");
    for original in [entry(&full("ann"), 1, at(0)), tombstone(&record("ann"), 2, at(0))] {
        given(&cache, &original).await;
        lab.run(&format!(
            "INSERT INTO {{t}} SELECT {other_uuid}, id, revision, verified_at, tombstone, ttl_ms, expires_at, body
                FROM {{t}} WHERE id = '{}'",
            original.id,
        ))
        .await;
        let error = assert_kind(cache.get(other, original.id).await, ErrorKind::Corrupt);
        assert!(error.to_string().contains("another scope"), "{error}");
        let left = format!("SELECT COUNT(*) FROM {{t}} WHERE scope = {other_uuid}");
        eventually("the refused entry is removed", async || lab.number(&left).await == 0).await;
        assert_holds(&cache, &original).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inconsistent_entry_is_not_stored() {
    let Some(lab) = Lab::shared().await else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    let mut elsewhere = entry(&record, 1, at(0));
    elsewhere.id = full("bob").id;
    let mut otherwise = entry(&record, 1, at(0));
    otherwise.revision = otherwise.revision.next();
    for wrong in [elsewhere, otherwise] {
        assert_eq!(put(&cache, &wrong).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert!(!lab.exists(wrong.id).await);
    }
}

/// Expired rows are removed, and live rows stay.
#[tokio::test(flavor = "multi_thread")]
async fn expired_rows_are_removed_by_puts() {
    const EXPIRED: i64 = 1_700;
    let Some(lab) = Lab::shared().await else { return };
    let (cache, held) = (lab.cache(), entry(&full("ann"), 1, at(0)));
    lab.run(&format!(
        "INSERT INTO {{t}} SELECT gen_random_uuid(), gen_random_uuid(), 1, 0, FALSE, 1000, number, '' FROM generate_series(1, {EXPIRED}) AS number"
    ))
    .await;
    // On a busy machine one put does not remove all of them.
    let is_done = async || {
        put(&cache, &held).await.unwrap();
        lab.number("SELECT COUNT(*) FROM {t}").await == 1
    };
    eventually("only the live row is left", is_done).await;
    assert_holds(&cache, &held).await;
}

/// Without the index a sweep that finds nothing would read every row.
#[tokio::test(flavor = "multi_thread")]
async fn expired_rows_are_found_in_the_index() {
    let Some(lab) = Lab::shared().await else { return };
    lab.run(
        "INSERT INTO {t} SELECT gen_random_uuid(), gen_random_uuid(), 1, 0, FALSE, 1000, 9000000000000 + number, ''
            FROM generate_series(1, 5000) AS number; ANALYZE {t}",
    )
    .await;
    let plan = lab
        .run(
            "EXPLAIN DELETE FROM {t} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {t}
                WHERE expires_at <= (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)
                ORDER BY expires_at LIMIT 500 FOR UPDATE SKIP LOCKED))",
        )
        .await;
    let plan: Vec<String> = plan.iter().map(|row| sqlx::Row::get(row, 0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Cond: (expires_at <=") && plan.contains("Tid Scan"), "{plan}");
    assert!(!plan.contains("Seq Scan"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_ttl_is_reduced_to_the_maximum() {
    let Some(lab) = Lab::shared().await else { return };
    let longest = Duration::from_secs(60);
    let (cache, put) = (lab.cache().with_max_ttl(longest).unwrap(), entry(&full("ann"), 1, at(0)));
    assert!(cache.put_if_newer(put.clone(), Duration::MAX).await.unwrap());
    assert!(cache.get(SCOPE, put.id).await.unwrap().unwrap().remaining <= longest);
}
