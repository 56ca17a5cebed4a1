//! Checks that the indexes match the sessions, in both directions.

use std::collections::BTreeMap;
use std::sync::Arc;

use session_core::SessionId;
use session_core::prelude::*;
use session_redis::RedisStore;

use super::lab::{Keys, Raw};

/// How long the store keeps ended sessions by default, in milliseconds.
const RETENTION: i64 = 400 * 24 * 3_600_000;

type Indexes = BTreeMap<String, BTreeMap<String, i64>>;

/// A description of an inconsistency.
type Finding = String;

/// Asserts that every session is in its indexes, that the indexes contain nothing else, and that
/// every key has a time to live. Returns the number of sessions.
///
/// The audit reads the keys one after the other, so an inconsistency counts only if a second audit
/// finds one too: a call that is in flight, and whose caller has left, may reach the server in
/// between.
pub(super) async fn assert_consistent(store: &RedisStore, keys: &Keys, nodes: &mut [Raw]) -> usize {
    match audit(store, keys, nodes).await {
        Ok(count) => count,
        Err(first) => {
            println!("looking again, because {first}");
            audit(store, keys, nodes).await.unwrap()
        }
    }
}

fn ensure(is_so: bool, finding: impl FnOnce() -> Finding) -> Result<(), Finding> {
    if is_so { Ok(()) } else { Err(finding()) }
}

async fn audit(store: &RedisStore, keys: &Keys, nodes: &mut [Raw]) -> Result<usize, Finding> {
    let (mut ids, mut stored) = (Vec::new(), Indexes::new());
    let mut lives = BTreeMap::new();
    for node in nodes {
        for key in scan(node, &format!("{}:*", keys.0)).await {
            let ttl: i64 = node.send(redis::cmd("PTTL").arg(&key)).await;
            let (_, name) = key.split_once("}:").unwrap();
            match name.strip_prefix("session:") {
                Some(id) => {
                    let id: SessionId = id.parse().unwrap();
                    ids.push(id);
                    lives.insert(id, ttl);
                }
                None => {
                    ensure(ttl > RETENTION, || format!("{key} has {ttl} ms left"))?;
                    stored.insert(key.clone(), node.members(&key).await.into_iter().collect());
                }
            }
        }
    }
    let mut expected = Indexes::new();
    for some in ids.chunks(500) {
        for record in store.load(some).await.unwrap() {
            check_life(&record, lives[&record.id])?;
            for (index, score) in indexes(keys, &record) {
                expected.entry(index).or_default().insert(record.id.to_string(), score);
            }
        }
    }
    for (index, members) in &expected {
        let found = stored.get(index).cloned().unwrap_or_default();
        for (id, score) in members {
            let stored = found.get(id);
            ensure(stored == Some(score), || format!("{index} has {stored:?} for {id}, not {score}"))?;
        }
    }
    for (index, members) in &stored {
        let known = expected.get(index).cloned().unwrap_or_default();
        let strays: Vec<_> = members.keys().filter(|id| !known.contains_key(*id)).collect();
        ensure(strays.is_empty(), || format!("{strays:?} in {index}"))?;
    }
    Ok(ids.len())
}

/// The server must keep an active session past its absolute expiry, and an ended one until its
/// retention is over.
fn check_life(record: &Arc<SessionRecord>, ttl: i64) -> Result<(), Finding> {
    match record.ended() {
        Some(_) => ensure((RETENTION - 600_000..=RETENTION).contains(&ttl), || {
            format!("an ended one has {ttl} ms left")
        }),
        None => {
            let life = i64::try_from(record.expires_at.since(record.created_at).as_millis()).unwrap();
            ensure(ttl > life && ttl <= life + RETENTION, || format!("an active one has {ttl} ms left"))
        }
    }
}

fn indexes(keys: &Keys, record: &SessionRecord) -> Vec<(String, i64)> {
    let (shard, created) = (record.id.shard(), record.created_at.as_millis());
    let mut all = vec![(keys.of(shard, "created"), created)];
    match record.ended() {
        Some(ended) => {
            all.push((keys.of(shard, "ended"), ended.at.as_millis()));
            all.extend(record.user_id.iter().map(|user| (keys.history(user), created)));
        }
        None => {
            let deadline = record.expiry(record.created_at).deadline().at;
            all.push((keys.of(shard, "deadlines"), deadline.as_millis()));
            all.extend(record.user_id.iter().map(|user| (keys.user(user), created)));
        }
    }
    all
}

async fn scan(node: &mut Raw, pattern: &str) -> Vec<String> {
    let (mut cursor, mut keys) = ("0".to_owned(), Vec::new());
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(2_000);
        let (next, some): (String, Vec<String>) = node.send(&command).await;
        keys.extend(some);
        if next == "0" {
            keys.sort_unstable();
            keys.dedup();
            return keys;
        }
        cursor = next;
    }
}
