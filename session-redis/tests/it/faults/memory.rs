//! A server whose memory is full, or that may evict keys.

use std::sync::{Arc, Mutex};

use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record, record_at, touch, user};
use session_core::prelude::*;
use session_core::{SecureRandom, SystemRandom};
use session_redis::RedisStore;
use tracing::field::{Field, Visit};
use tracing::span;

use super::DEADLINE;
use super::audit::assert_consistent;
use super::calls::{assert_fails, assert_recovers, create, ids, in_time};
use super::lab::{Lab, Raw};
use crate::support::connect;

/// Returns a session with nearly the most data that is allowed, which cannot be compressed.
fn large(name: &str) -> Arc<SessionRecord> {
    let mut session = record(name);
    let mut data = vec![0; 60_000];
    SystemRandom.fill(&mut data).unwrap();
    session.data = data.into();
    Arc::new(session)
}

fn assert_full<T>(what: &str, result: Result<T>) {
    let error = assert_fails(what, ErrorKind::Unavailable, result);
    assert!(error.to_string().contains("memory is full"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn full_memory_refuses_sign_ins_and_keeps_sessions() {
    let settings = ["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"];
    let Some(lab) = Lab::start_set(&settings) else { return };
    let store = lab.store();
    assert_eq!(store.connection().check().await.unwrap().evicts_by, None);
    let mut stored = Vec::new();
    let refused = loop {
        let session = large("eve");
        let created = in_time(DEADLINE, "create", store.create(Arc::clone(&session), None)).await;
        match created {
            Ok(_) => stored.push(session),
            Err(_) => {
                assert_full("create", created);
                break session;
            }
        }
        assert!(stored.len() < 1_000, "the memory has no end");
    };
    assert!(stored.len() > 10, "only {} sessions", stored.len());
    assert!(store.load(&[refused.id]).await.unwrap().is_empty(), "half a session");
    let mut raw = lab.raw().await;
    assert_eq!(assert_consistent(&store, &lab.keys, std::slice::from_mut(&mut raw)).await, stored.len());
    for session in &stored {
        assert_eq!(store.load(&[session.id]).await.unwrap()[0].data, session.data);
    }
    // Ended sessions release their memory.
    let all = store.end(&EndScope::User(user("eve")), &logged_out(1), Timestamp::MAX).await.unwrap();
    assert_eq!(all.len(), stored.len());
    assert_recovers(&store).await;
    store.create(refused, None).await.unwrap();
    assert_consistent(&store, &lab.keys, &mut [raw]).await;
}

/// Sets a limit that no eviction can meet.
async fn starve(raw: &mut Raw) {
    raw.run("CONFIG SET maxmemory 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_however_full_the_memory_is() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    let mine = create(&store, full("ann")).await;
    let device = create(&store, full("bob")).await;
    let all = [create(&store, record("carl")).await, create(&store, record_at("carl", 1)).await];
    let old = create(&store, record("dora")).await;
    let stays = create(&store, record("stay")).await;
    starve(&mut raw).await;
    // The server has lost its scripts, too.
    raw.run("SCRIPT FLUSH").await;

    assert_full("create", store.create(Arc::new(full("ann")), None).await);
    let two = limit(2, OnExceed::EndOldest, 5);
    assert_full("create under a limit", store.create(Arc::new(record("ann")), Some(&two)).await);
    assert_full("update", store.update(Arc::clone(&stays), stays.revision).await);
    assert_full("touch", store.touch(&[touch(stays.id, 5)], NOW).await);
    assert_eq!(store.load(&[mine.id, stays.id]).await.unwrap().len(), 2);
    assert_eq!(store.list(&ListQuery::default()).await.unwrap().records.len(), 6);
    assert_eq!(store.stats(at(1)).await.unwrap().live, 6);
    assert_consistent(&store, &lab.keys, &mut [lab.raw().await]).await;

    let ended = store.end(&EndScope::id(mine.id), &logged_out(2), Timestamp::MAX).await.unwrap();
    assert_eq!(ids(&ended), [mine.id]);
    let scope = EndScope::Device { user: user("bob"), device: device.device_id.unwrap() };
    assert_eq!(ids(&store.end(&scope, &logged_out(2), Timestamp::MAX).await.unwrap()), [device.id]);
    let ended = store.end(&EndScope::User(user("carl")), &logged_out(2), Timestamp::MAX).await.unwrap();
    assert_eq!(ids(&ended), ids(&all));
    let mut swept = ids(&store.expire(at(3_600_000), 10).await.unwrap());
    swept.sort_unstable();
    assert_eq!(swept, {
        let mut both = vec![old.id, stays.id];
        both.sort_unstable();
        both
    });
    assert_eq!(store.purge(at(9_000_000), 1).await.unwrap(), 1);

    let held = ids(&store.load(&[mine.id, device.id, all[0].id, all[1].id, old.id, stays.id]).await.unwrap());
    assert_eq!(held.len(), 5);
    for record in store.load(&held).await.unwrap() {
        assert!(record.ended().is_some());
        assert!(record.data.is_empty() && record.secret.is_none() && record.refresh.is_none());
    }
    assert_consistent(&store, &lab.keys, &mut [lab.raw().await]).await;
    raw.run("CONFIG SET maxmemory 0").await;
    assert_recovers(&store).await;
    assert_consistent(&store, &lab.keys, &mut [raw]).await;
}

/// A limit ends the old session and stores the new one in one step, or does neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_under_a_limit_is_atomic_when_memory_is_full() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    let old = create(&store, record("ann")).await;
    starve(&mut raw).await;
    let new = Arc::new(record_at("ann", 1));
    let one = limit(1, OnExceed::EndOldest, 5);
    let created = store.create(Arc::clone(&new), Some(&one)).await;
    let [is_over, is_there] =
        [is_ended(&store, old.id).await, !store.load(&[new.id]).await.unwrap().is_empty()];
    assert_eq!((is_over, is_there), (created.is_ok(), created.is_ok()), "{created:?}");
    if created.is_err() {
        assert_full("create under a limit", created);
    }
    assert_consistent(&store, &lab.keys, &mut [raw]).await;
}

async fn is_ended(store: &RedisStore, id: SessionId) -> bool {
    store.load(&[id]).await.unwrap()[0].ended().is_some()
}

/// Collects the warnings of one thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{}={value:?} ", field.name());
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_server_that_may_evict_sessions_logs_a_warning() {
    // A task opens the connection; on this runtime it runs on this thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let settings = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let options = session_servers::Options::default().with_settings(settings);
    let server = session_servers::Server::for_test(session_servers::Kind::Redis, &options).unwrap();
    let Some(server) = server else { return };
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let connection = session_redis::Connection::open(server.url()).unwrap();
    runtime.block_on(connect(&connection));
    let info = runtime.block_on(connection.check()).unwrap();
    assert_eq!(info.evicts_by.as_deref(), Some("allkeys-lru"));
    let warnings = warnings.0.lock().unwrap().clone();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("noeviction") && warnings[0].contains("allkeys-lru"), "{warnings:?}");
}
