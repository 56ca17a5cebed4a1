//! Replies that arrive late or for another command.

use session_conformance::assert_kind;
use session_conformance::fixtures::{SCOPE, at, full, record};
use session_core::{ErrorKind, SessionCache};
use session_servers::{Fault, Proxy};

use super::lab::{LONG, Lab, assert_holds, entry, eventually, given, key, tombstone};

/// The entry of one session arrives as the reply for another session.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_reply_is_refused_and_its_connection_replaced() {
    let Some(lab) = Lab::start() else { return };
    let proxy = lab.proxy().await;
    let cache = lab.cache_behind(&proxy);
    let (ann, bob) = (record("ann"), record("ann"));
    let (of_ann, of_bob) = (entry(&ann, 1, at(0)), entry(&bob, 1, at(0)));
    given(&cache, &of_ann).await;
    given(&cache, &of_bob).await;
    let accepted = proxy.accepted();

    swap(&proxy, key(ann.id), key(bob.id));
    let error = assert_kind(cache.get(SCOPE, ann.id).await, ErrorKind::Corrupt);
    assert!(error.to_string().contains("another session"), "{error}");
    // The replies of the new connection match.
    assert_holds(&cache, &of_ann).await;
    assert_eq!(proxy.accepted(), accepted + 1);
    eventually("the removal script runs", async || lab.calls("eval").await >= 2).await;
    for entry in [&of_ann, &of_bob] {
        assert_holds(&lab.cache(), entry).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_reply_to_a_put_is_refused() {
    let Some(lab) = Lab::start() else { return };
    let proxy = lab.proxy().await;
    let cache = lab.cache_behind(&proxy);
    let (ann, bob) = (record("ann"), record("ann"));
    given(&cache, &entry(&ann, 1, at(0))).await;
    let accepted = proxy.accepted();
    swap(&proxy, *ann.id.as_bytes(), *bob.id.as_bytes());
    assert_kind(cache.put_if_newer(entry(&ann, 2, at(0)), LONG).await, ErrorKind::Corrupt);
    given(&cache, &entry(&ann, 3, at(0))).await;
    assert_eq!(proxy.accepted(), accepted + 1);
}

/// The removal of a refused entry arrives after a valid entry.
#[tokio::test(flavor = "multi_thread")]
async fn a_valid_entry_that_was_put_meanwhile_is_not_removed() {
    let Some(lab) = Lab::start() else { return };
    let (record, garbage) = (full("ann"), b"garbage that cannot be parsed");
    let proxy = lab.proxy().await;
    let cache = lab.cache_behind(&proxy);
    lab.store(record.id, garbage).await;
    proxy.arm(Fault::Hold, garbage);
    assert_kind(cache.get(SCOPE, record.id).await, ErrorKind::Corrupt);
    proxy.until_met().await;
    let good = entry(&record, 1, at(0));
    given(&lab.cache(), &good).await;
    let before = lab.calls("eval").await + lab.calls("evalsha").await;
    proxy.disarm();
    eventually("the removal ran", async || {
        lab.calls("eval").await + lab.calls("evalsha").await >= before + 2
    })
    .await;
    assert_holds(&cache, &good).await;
}

/// The bytes are the same, but now they have a time to live.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_ttl_was_repaired_meanwhile_is_not_removed() {
    let Some(lab) = Lab::start() else { return };
    let record = full("ann");
    let proxy = lab.proxy().await;
    let cache = lab.cache_behind(&proxy);
    let good = entry(&record, 1, at(0));
    given(&cache, &good).await;
    let bytes = lab.stored(record.id).await;
    let () = lab.ask(&format!("PERSIST {}", key(record.id))).await;
    proxy.arm(Fault::Hold, &bytes);
    assert_kind(cache.get(SCOPE, record.id).await, ErrorKind::Corrupt);
    proxy.until_met().await;
    given(&lab.cache(), &good).await;
    assert_eq!(lab.stored(record.id).await, bytes);
    let before = lab.calls("eval").await + lab.calls("evalsha").await;
    proxy.disarm();
    eventually("the removal ran", async || {
        lab.calls("eval").await + lab.calls("evalsha").await >= before + 2
    })
    .await;
    assert_holds(&cache, &good).await;
}

/// An entry is stored between the read of its time to live and the read of its value.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_stored_during_a_read_is_not_corrupt() {
    let Some(lab) = Lab::start() else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    let (brief, lasting) = (entry(&record, 1, at(0)), tombstone(&record, 2, at(0)));
    for is_there in [false, true] {
        if is_there {
            assert!(cache.put_if_newer(brief.clone(), LONG / 2).await.unwrap());
        }
        let () = lab.ask("CONFIG RESETSTAT").await;
        let proxy = lab.proxy().await;
        let reader = lab.cache_behind(&proxy);
        proxy.arm(Fault::Hold, b"*2\r\n$3\r\nGET\r\n");
        let reading = tokio::spawn(async move { reader.get(SCOPE, record.id).await });
        proxy.until_met().await;
        eventually("the time to live was read", async || lab.calls("pttl").await > 0).await;
        given(&cache, &lasting).await;
        proxy.disarm();
        let found = reading.await.unwrap().unwrap().map(|hit| hit.entry);
        assert_eq!(found, is_there.then(|| lasting.clone()));
        cache.remove(SCOPE, lasting.id).await.unwrap();
    }
}

/// From the next request for `from` on, the connection requests `to` instead, as if the replies to
/// two requests were swapped. Both are equally long, so that the lengths in front of them stay
/// correct.
fn swap<B: AsRef<[u8]> + Send + 'static>(proxy: &Proxy, from: B, to: B) {
    assert_eq!(from.as_ref().len(), to.as_ref().len());
    let asked = from.as_ref().to_vec();
    proxy.edit_requests(&asked, move |bytes| {
        let (from, to) = (from.as_ref(), to.as_ref());
        let mut bytes = bytes.to_vec();
        for at in 0..bytes.len().saturating_sub(from.len() - 1) {
            if bytes[at..].starts_with(from) {
                bytes[at..at + to.len()].copy_from_slice(to);
            }
        }
        bytes
    });
}
