//! Replies that come late or to others.

use session_conformance::assert_kind;
use session_conformance::fixtures::{SCOPE, at, full, record};
use session_core::{ErrorKind, SessionCache};
use session_servers::{Fault, Proxy};

use super::lab::{LONG, Lab, assert_holds, entry, eventually, given, key, tombstone};

/// The entry of one session comes as the answer for another one.
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
    // The replies of the new connection fit.
    assert_holds(&cache, &of_ann).await;
    assert_eq!(proxy.accepted(), accepted + 1);
    eventually("the refused entry is looked at", async || lab.calls("eval").await >= 2).await;
    for entry in [&of_ann, &of_bob] {
        assert_holds(&lab.cache(), entry).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_reply_to_a_put_is_no_answer() {
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

/// The removal of what was refused arrives after a good entry.
#[tokio::test(flavor = "multi_thread")]
async fn a_good_entry_that_was_put_meanwhile_is_not_removed() {
    let Some(lab) = Lab::start() else { return };
    let (record, garbage) = (full("ann"), b"garbage that nobody can read");
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

/// The same bytes, this time with a time to live.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_time_was_put_right_meanwhile_is_not_removed() {
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

/// Between the question for its time to live and the one for its value.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_stored_while_it_is_read_is_no_damage() {
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
        eventually("the time is asked for", async || lab.calls("pttl").await > 0).await;
        given(&cache, &lasting).await;
        proxy.disarm();
        let found = reading.await.unwrap().unwrap().map(|hit| hit.entry);
        assert_eq!(found, is_there.then(|| lasting.clone()));
        cache.remove(SCOPE, lasting.id).await.unwrap();
    }
}

/// From the next request for the one on, its connection asks for the other instead, as if the replies to two requests were swapped. Both
/// are equally long, so that the lengths in front of them stay right.
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
