//! Replies that come to the wrong question. Whoever gets one says so, and trusts the connection no more.

use std::sync::Arc;

use futures_util::future::join;
use session_conformance::fixtures::{logged_out, record_at, user};
use session_core::prelude::*;
use session_redis::RedisStore;
use session_servers::Proxy;

use super::DEADLINE;
use super::calls::{assert_works, given, ids, in_time};
use super::lab::{Lab, wait_until};

/// What comes instead of the replies to two questions.
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

    /// Asks two questions at once, the first of which is armed. Returns how many were answered with an error, which is `Corrupt`.
    async fn ask<T>(
        &self,
        order: Order,
        first: impl Future<Output = Result<T>>,
        second: impl Future<Output = Result<T>>,
        is_right: impl Fn(usize, &T) -> bool,
    ) -> usize {
        self.until_alive().await;
        let before = self.proxy.accepted();
        self.proxy.edit_replies(self.amy.id.to_string().as_bytes(), reordered(order));
        let (first, second) =
            join(in_time(DEADLINE, "first", first), in_time(DEADLINE, "second", second)).await;
        assert_eq!(self.proxy.met(), 1, "the bytes were never sent");
        let mut strange = 0;
        for (question, answer) in [first, second].into_iter().enumerate() {
            match answer {
                Ok(answer) => assert!(is_right(question, &answer), "another's answer to question {question}"),
                Err(error) => {
                    strange += 1;
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                }
            }
        }
        // On a new connection everything fits again.
        assert_works(&self.store).await;
        assert_eq!(self.proxy.accepted(), before + 1);
        strange
    }

    /// Waits for the connection's sign of life, so that the next one does not come between two questions.
    async fn until_alive(&self) {
        let mut raw = self.lab.raw().await;
        let before = raw.calls("ping").await;
        wait_until("a sign of life", async || raw.calls("ping").await > before).await;
        // Its answer has come when this one has.
        self.store.load(&[self.amy.id]).await.unwrap();
    }

    fn is_hers(&self, question: usize, records: &[Arc<SessionRecord>]) -> bool {
        ids(records) == [[self.amy.id, self.eve.id][question]]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_loads_never_answer_with_anothers_session() {
    let Some(wire) = Wire::open().await else { return };
    let (amy, eve) = ([wire.amy.id], [wire.eve.id]);
    let loads = (wire.store.load(&amy), wire.store.load(&eve));
    let strange = wire.ask(SWAPPED, loads.0, loads.1, |asked, found| wire.is_hers(asked, found)).await;
    assert_eq!(strange, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_comes_twice_never_answers_the_next_question() {
    let Some(wire) = Wire::open().await else { return };
    let (amy, eve) = ([wire.amy.id], [wire.eve.id]);
    let loads = (wire.store.load(&amy), wire.store.load(&eve));
    let strange = wire.ask(FIRST_TWICE, loads.0, loads.1, |asked, found| wire.is_hers(asked, found)).await;
    assert_eq!(strange, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_ends_are_reported_for_nobody_else() {
    let Some(wire) = Wire::open().await else { return };
    let scopes = [EndScope::id(wire.amy.id), EndScope::id(wire.eve.id)];
    let ended = logged_out(1);
    let ends = (
        wire.store.end(&scopes[0], &ended, Timestamp::MAX),
        wire.store.end(&scopes[1], &ended, Timestamp::MAX),
    );
    let strange = wire.ask(SWAPPED, ends.0, ends.1, |asked, found| wire.is_hers(asked, found)).await;
    assert_eq!(strange, 2);
    for record in wire.store.load(&[wire.amy.id, wire.eve.id]).await.unwrap() {
        assert_eq!(record.ended(), Some(&ended));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_sign_ins_and_updates_are_told() {
    let Some(mut wire) = Wire::open().await else { return };
    let store = Arc::clone(&wire.store);
    let updates = (
        store.update(Arc::clone(&wire.amy), wire.amy.revision),
        store.update(Arc::clone(&wire.eve), wire.eve.revision),
    );
    assert_eq!(wire.ask(SWAPPED, updates.0, updates.1, |_, _| false).await, 2);
    (wire.amy, wire.eve) = (Arc::new(record_at("amy", 5)), Arc::new(record_at("eve", 5)));
    let creates = (store.create(Arc::clone(&wire.amy), None), store.create(Arc::clone(&wire.eve), None));
    assert_eq!(wire.ask(SWAPPED, creates.0, creates.1, |_, _| false).await, 2);
    // They happened, each as it was asked for.
    for id in [wire.amy.id, wire.eve.id] {
        assert_eq!(ids(&wire.store.load(&[id]).await.unwrap()), [id]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_listings_never_show_anothers_sessions() {
    let Some(wire) = Wire::open().await else { return };
    let queries = ["amy", "eve"].map(|name| ListQuery::default().with_user(user(name)));
    wire.until_alive().await;
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

/// Waits for two replies, and passes the next ones on as they are.
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

/// The first reply, once all of it is there, and what follows.
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
