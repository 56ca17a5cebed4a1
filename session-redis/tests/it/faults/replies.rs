//! Replies that arrive for the wrong command. The call that receives one fails, and its connection
//! is not used again.

use std::sync::Arc;

use futures_util::future::join;
use session_conformance::fixtures::{logged_out, record_at, user};
use session_core::prelude::*;
use session_redis::RedisStore;
use session_servers::Proxy;

use super::DEADLINE;
use super::calls::{assert_works, given, ids, in_time};
use super::lab::{Lab, wait_until};

/// Builds the bytes that arrive instead of the replies to two commands.
type Order = fn(&[u8], &[u8]) -> Vec<u8>;

const SWAPPED: Order = |first, second| [second, first].concat();
const FIRST_TWICE: Order = |first, second| [first, first, second].concat();

struct Wire {
    proxy: Proxy,
    store: Arc<RedisStore>,
    amy: Arc<SessionRecord>,
    eve: Arc<SessionRecord>,
    lab: Lab,
}

impl Wire {
    async fn open() -> Option<Self> {
        let lab = Lab::start()?;
        let proxy = lab.proxy().await;
        let store = lab.store_behind(&proxy);
        assert_works(&store).await;
        let (amy, eve) = (given(&store, "amy").await, given(&store, "eve").await);
        Some(Self { proxy, store, amy, eve, lab })
    }

    /// Makes two calls at once, the first of which is armed. Returns how many failed, all of them
    /// with `Corrupt`.
    async fn send_pair<T>(
        &self,
        order: Order,
        first: impl Future<Output = Result<T>>,
        second: impl Future<Output = Result<T>>,
        is_right: impl Fn(usize, &T) -> bool,
    ) -> usize {
        self.after_ping().await;
        let before = self.proxy.accepted();
        self.proxy.edit_replies(self.amy.id.to_string().as_bytes(), reordered(order));
        let (first, second) =
            join(in_time(DEADLINE, "first", first), in_time(DEADLINE, "second", second)).await;
        assert_eq!(self.proxy.met(), 1, "the bytes were never sent");
        let mut refused = 0;
        for (number, answer) in [first, second].into_iter().enumerate() {
            match answer {
                Ok(answer) => {
                    assert!(is_right(number, &answer), "the reply to the other call for call {number}");
                }
                Err(error) => {
                    refused += 1;
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                }
            }
        }
        // On a new connection all replies match again.
        assert_works(&self.store).await;
        assert_eq!(self.proxy.accepted(), before + 1);
        refused
    }

    /// Waits for the connection's `PING`, so that the next one does not come between two commands.
    async fn after_ping(&self) {
        let mut raw = self.lab.raw().await;
        let before = raw.calls("ping").await;
        wait_until("a ping", async || raw.calls("ping").await > before).await;
        // The reply to the `PING` arrives before the reply to this load.
        self.store.load(&[self.amy.id]).await.unwrap();
    }

    fn is_hers(&self, number: usize, records: &[Arc<SessionRecord>]) -> bool {
        ids(records) == [[self.amy.id, self.eve.id][number]]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_loads_never_answer_with_anothers_session() {
    let Some(wire) = Wire::open().await else { return };
    let (amy, eve) = ([wire.amy.id], [wire.eve.id]);
    let loads = (wire.store.load(&amy), wire.store.load(&eve));
    let refused = wire.send_pair(SWAPPED, loads.0, loads.1, |asked, found| wire.is_hers(asked, found)).await;
    assert_eq!(refused, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_reply_never_answers_the_next_command() {
    let Some(wire) = Wire::open().await else { return };
    let (amy, eve) = ([wire.amy.id], [wire.eve.id]);
    let loads = (wire.store.load(&amy), wire.store.load(&eve));
    let refused =
        wire.send_pair(FIRST_TWICE, loads.0, loads.1, |asked, found| wire.is_hers(asked, found)).await;
    assert_eq!(refused, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_ends_are_never_reported_for_another_session() {
    let Some(wire) = Wire::open().await else { return };
    let scopes = [EndScope::id(wire.amy.id), EndScope::id(wire.eve.id)];
    let ended = logged_out(1);
    let ends = (
        wire.store.end(&scopes[0], &ended, Timestamp::MAX),
        wire.store.end(&scopes[1], &ended, Timestamp::MAX),
    );
    let refused = wire.send_pair(SWAPPED, ends.0, ends.1, |asked, found| wire.is_hers(asked, found)).await;
    assert_eq!(refused, 2);
    for record in wire.store.load(&[wire.amy.id, wire.eve.id]).await.unwrap() {
        assert_eq!(record.ended(), Some(&ended));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_sign_ins_and_updates_are_errors() {
    let Some(mut wire) = Wire::open().await else { return };
    let store = Arc::clone(&wire.store);
    let updates = (
        store.update(Arc::clone(&wire.amy), wire.amy.revision),
        store.update(Arc::clone(&wire.eve), wire.eve.revision),
    );
    assert_eq!(wire.send_pair(SWAPPED, updates.0, updates.1, |_, _| false).await, 2);
    (wire.amy, wire.eve) = (Arc::new(record_at("amy", 5)), Arc::new(record_at("eve", 5)));
    let creates = (store.create(Arc::clone(&wire.amy), None), store.create(Arc::clone(&wire.eve), None));
    assert_eq!(wire.send_pair(SWAPPED, creates.0, creates.1, |_, _| false).await, 2);
    // Both took effect as requested.
    for id in [wire.amy.id, wire.eve.id] {
        assert_eq!(ids(&wire.store.load(&[id]).await.unwrap()), [id]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_listings_never_show_anothers_sessions() {
    let Some(wire) = Wire::open().await else { return };
    let queries = ["amy", "eve"].map(|name| ListQuery::default().with_user(user(name)));
    wire.after_ping().await;
    let before = wire.proxy.accepted();
    let key = format!("user:{}", user("amy"));
    wire.proxy.edit_replies(key.as_bytes(), reordered(SWAPPED));
    let (amy, eve) = join(wire.store.list(&queries[0]), wire.store.list(&queries[1])).await;
    assert_eq!(wire.proxy.met(), 1, "the bytes were never sent");
    for page in [amy, eve] {
        assert_eq!(page.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert_works(&wire.store).await;
    assert_eq!(wire.proxy.accepted(), before + 1);
}

/// Reorders the first two replies, and passes later ones on unchanged.
fn reordered(order: Order) -> impl FnMut(&[u8]) -> Vec<u8> {
    let (mut replies, mut is_done) = (Vec::new(), false);
    move |bytes| {
        if is_done {
            return bytes.to_vec();
        }
        replies.extend_from_slice(bytes);
        let Some((first, rest)) = split_reply(&replies) else { return Vec::new() };
        let Some((second, rest)) = split_reply(rest) else { return Vec::new() };
        is_done = true;
        [&order(first, second), rest].concat()
    }
}

/// Splits off the first reply, once it is complete.
fn split_reply(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut end, mut missing) = (0, 1);
    while missing > 0 {
        missing -= 1;
        let line = bytes.get(end..)?;
        let line = std::str::from_utf8(&line[..line.windows(2).position(|end| end == b"\r\n")?]).unwrap();
        end += line.len() + 2;
        let (kind, number) = line.split_at(1);
        match (kind, number.parse::<usize>()) {
            ("$", Ok(length)) => end += length + 2,
            ("*", Ok(parts)) => missing += parts,
            _ => {}
        }
    }
    bytes.split_at_checked(end)
}
