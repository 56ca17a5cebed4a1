//! Replies to other commands, as from a connection that is one reply behind.

use std::sync::Arc;

use session_conformance::fixtures::{at, logged_out, user};
use session_core::prelude::*;
use session_mongo::MongoStore;
use session_servers::Proxy;

use super::calls::{assert_fails, assert_works, given};
use super::cases;
use super::lab::Lab;

cases!(reply_to_another_command_is_corrupt);

/// Repeats the first reply on the connection that sends these bytes, so that the connection stays
/// one reply behind.
fn fall_behind(proxy: &Proxy, bytes: &[u8]) {
    let mut last: Option<Vec<u8>> = None;
    proxy.edit_replies(bytes, move |reply| {
        let previous = last.replace(reply.to_vec());
        previous.unwrap_or_else(|| reply.to_vec())
    });
}

async fn reply_to_another_command_is_corrupt() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    let url = format!("{}&maxPoolSize=1", proxy.url(&lab.url()));
    let store = Lab::stores_at(&url).await.store;
    let [ann, bob] = [given(&store, "ann").await, given(&store, "bob").await];
    let loads: [&[SessionId]; 2] = [&[bob.id], &[bob.id, given(&store, "carl").await.id]];
    for ids in loads {
        fall_behind(&proxy, ann.id.as_bytes());
        assert_eq!(store.load(&[ann.id]).await.unwrap().len(), 1);
        assert_fails("load", ErrorKind::Corrupt, store.load(ids).await);
        proxy.cut();
        assert_eq!(loaded_again(&store, &bob).await, bob.id);
    }
    let of = |name| ListQuery::default().with_user(user(name)).with_state(StateFilter::Live(at(5)));
    fall_behind(&proxy, b"ann\0");
    assert_eq!(store.list(&of("ann")).await.unwrap().records.len(), 1);
    assert_fails("list", ErrorKind::Corrupt, store.list(&of("bob")).await);
    proxy.cut();
    loaded_again(&store, &bob).await;

    fall_behind(&proxy, ann.id.as_bytes());
    assert_eq!(store.end(&EndScope::id(ann.id), &logged_out(1), Timestamp::MAX).await.unwrap().len(), 1);
    assert_fails(
        "end",
        ErrorKind::Corrupt,
        store.end(&EndScope::id(bob.id), &logged_out(1), Timestamp::MAX).await,
    );
    proxy.cut();
    loaded_again(&store, &bob).await;
    assert_works(&lab.stores().await).await;
}

/// Loads the session on another connection.
async fn loaded_again(store: &MongoStore, session: &Arc<SessionRecord>) -> SessionId {
    store.load(&[session.id]).await.unwrap()[0].id
}
