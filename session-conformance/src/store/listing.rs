//! `list`: which sessions pass each filter, and what a listing shows.

use session_core::{ErrorKind, ListQuery, OnExceed, SessionKind, SessionRecord, StateFilter};

use super::{
    ago, apply, assert_same, assert_stored, expire, found, given_all, given_ended, idle, ids_of, listed,
    page, several, sign_out,
};
use crate::fixtures::{anonymous, at, full, limit, logged_out, record, record_at, touch, user};
use crate::harness::{Harness, assert_kind};

fn all() -> ListQuery {
    ListQuery::default()
}

fn of_kind(name: &str, kind: SessionKind) -> SessionRecord {
    let mut record = record(name);
    (record.kind, record.secret) = (kind, None);
    record
}

/// An empty store lists nothing, under any filter, and has no next page.
pub async fn list_of_an_empty_store_is_empty(h: Harness) {
    for query in [
        all(),
        all().with_user(user("ann")),
        all().with_username("ann"),
        all().with_state(StateFilter::Live(at(0))),
        all().with_state(StateFilter::Ended),
        all().with_limit(1),
    ] {
        let page = page(&h, &query).await;
        assert!(page.records.is_empty() && page.next.is_none());
    }
}

/// Without filters all sessions are listed: live, expired, ended and anonymous ones.
pub async fn list_without_filters_shows_everything(h: Harness) {
    let (live, mut past, over) = (record("ann"), record("bob"), record("cid"));
    past.expires_at = at(1);
    let visitor = anonymous();
    given_all(&h, &[live.clone(), past.clone(), visitor.clone()]).await;
    given_ended(&h, &over, &logged_out(1)).await;
    assert_eq!(found(&h, all()).await, ids_of([&live, &past, &visitor, &over]));
}

/// A list by user shows that user's sessions in every state, and no other.
pub async fn list_by_user_shows_theirs_only(h: Harness) {
    let (theirs, over) = (several("ann", 4), record("ann"));
    given_all(&h, &theirs).await;
    given_all(&h, &[record("bob"), anonymous()]).await;
    given_ended(&h, &over, &logged_out(1)).await;
    assert_eq!(found(&h, all().with_user(user("ann"))).await, ids_of(theirs.iter().chain([&over])));
    assert_eq!(found(&h, all().with_user(user("cid"))).await, []);
}

/// A list by user name shows sessions of any user and of none; an equal user id is not a name.
pub async fn list_by_user_name_shows_all_with_that_name(h: Harness) {
    let (mut one, mut two, mut visitor) = (record("ann"), record("bob"), anonymous());
    for record in [&mut one, &mut two, &mut visitor] {
        record.username = Some("bob".to_owned());
    }
    let (mut unnamed, other) = (record("bob"), record("bob"));
    unnamed.username = None;
    given_all(&h, &[one.clone(), two.clone(), visitor.clone(), unnamed, other.clone()]).await;
    assert_eq!(found(&h, all().with_username("bob")).await, ids_of([&one, &two, &visitor]));
    assert_eq!(found(&h, all().with_username("name of bob")).await, [other.id]);
    assert_eq!(found(&h, all().with_username("name")).await, []);
    assert_eq!(found(&h, all().with_user(user("ann")).with_username("ann")).await, []);
}

/// A list by kind shows sessions of that kind only.
pub async fn list_by_kind_shows_that_kind_only(h: Harness) {
    for kind in SessionKind::ALL {
        let records = [of_kind("ann", *kind), of_kind("bob", *kind)];
        given_all(&h, &records).await;
        assert_eq!(found(&h, all().with_kind(*kind)).await, ids_of(&records));
    }
    assert_eq!(found(&h, all()).await.len(), 2 * SessionKind::ALL.len());
}

/// Live means neither ended nor at a deadline, absolute or idle, at the time of the query.
pub async fn list_of_live_sessions_excludes_ended_and_expired_ones(h: Harness) {
    let (live, mut absolute, idle, over) = (record("ann"), record("ann"), idle("ann", 1_000), record("ann"));
    absolute.expires_at = at(2_000);
    given_all(&h, &[live.clone(), absolute.clone(), idle.clone()]).await;
    given_ended(&h, &over, &logged_out(1)).await;
    let live_at = |millis| all().with_state(StateFilter::Live(at(millis)));
    assert_eq!(found(&h, live_at(999)).await, ids_of([&live, &absolute, &idle]));
    assert_eq!(found(&h, live_at(1_000)).await, ids_of([&live, &absolute]));
    assert_eq!(found(&h, live_at(1_999)).await, ids_of([&live, &absolute]));
    assert_eq!(found(&h, live_at(2_000)).await, [live.id]);
    assert_eq!(found(&h, live_at(999)).await, ids_of([&live, &absolute, &idle]), "time may go back");
}

/// Ended means ended: a session past its deadline is not ended until a sweep or a call ends it.
pub async fn list_of_ended_sessions_excludes_what_was_not_swept(h: Harness) {
    let (over, mut past, live) = (record("ann"), record("ann"), record("ann"));
    past.expires_at = at(1);
    given_all(&h, &[past.clone(), live.clone()]).await;
    given_ended(&h, &over, &logged_out(5)).await;
    let query = all().with_state(StateFilter::Ended);
    assert_eq!(found(&h, query.clone()).await, [over.id]);
    assert_eq!(expire(&h, 1, 10).await.len(), 1);
    assert_eq!(found(&h, query).await, ids_of([&over, &past]));
}

/// Created at that time or later, to the millisecond; uses and ends do not matter.
pub async fn list_by_creation_includes_that_millisecond(h: Harness) {
    let records = several("ann", 5);
    given_all(&h, &records).await;
    assert_eq!(apply(&h, &[touch(records[0].id, 900)]).await, 1);
    sign_out(&h, records[1].id, 900).await;
    for (millis, rest) in records.iter().enumerate() {
        let query = all().with_created_since(rest.created_at);
        assert_eq!(found(&h, query).await, ids_of(&records[millis..]));
    }
    assert_eq!(found(&h, all().with_created_since(at(5))).await, []);
    assert_eq!(found(&h, all().with_created_since(ago(1))).await, ids_of(&records));
}

/// Filters combine: a session that passes all of them is listed.
pub async fn list_filters_work_together(h: Harness) {
    let mut records = Vec::new();
    for (name, username) in [("ann", "x"), ("ann", "y"), ("bob", "x")] {
        for kind in [SessionKind::Web, SessionKind::Api] {
            for millis in [0, 10] {
                for ended in [false, true] {
                    let mut record = record_at(name, millis);
                    (record.kind, record.username) = (kind, Some(username.to_owned()));
                    records.push((record, ended));
                }
            }
        }
    }
    for (record, ended) in &records {
        h.given(record).await;
        if *ended {
            sign_out(&h, record.id, 20).await;
        }
    }
    let expect = |keep: &dyn Fn(&SessionRecord, bool) -> bool| {
        ids_of(records.iter().filter(|(record, ended)| keep(record, *ended)).map(|(record, _)| record))
    };
    let ann = user("ann");
    let is_ann = |record: &SessionRecord| record.user_id.as_ref() == Some(&ann);
    let is_x = |record: &SessionRecord| record.username.as_deref() == Some("x");
    let live = StateFilter::Live(at(30));

    let narrow = all().with_user(user("ann")).with_username("x").with_kind(SessionKind::Api);
    let query = narrow.clone().with_state(live).with_created_since(at(10));
    let one = expect(&|r, ended| {
        is_ann(r) && is_x(r) && r.kind == SessionKind::Api && !ended && r.created_at >= at(10)
    });
    assert_eq!(one.len(), 1);
    assert_eq!(found(&h, query).await, one);
    assert_eq!(found(&h, narrow).await, expect(&|r, _| is_ann(r) && is_x(r) && r.kind == SessionKind::Api));
    let query = all().with_user(user("ann")).with_state(StateFilter::Ended);
    assert_eq!(found(&h, query).await, expect(&|r, ended| is_ann(r) && ended));
    let query = all().with_username("x").with_state(live);
    assert_eq!(found(&h, query).await, expect(&|r, ended| is_x(r) && !ended));
    let query = all().with_kind(SessionKind::Web).with_created_since(at(10));
    assert_eq!(found(&h, query).await, expect(&|r, _| r.kind == SessionKind::Web && r.created_at >= at(10)));
}

/// Lists are shown to people: no secrets, no refresh state, no data, but everything else. The
/// stored record keeps them.
pub async fn list_shows_everything_but_secrets_and_data(h: Harness) {
    let record = full("ann");
    h.given(&record).await;
    for query in [
        all(),
        all().with_user(user("ann")),
        all().with_username("name of ann"),
        all().with_state(StateFilter::Live(at(2))),
    ] {
        let page = page(&h, &query).await;
        assert_eq!(page.records.len(), 1);
        assert_same(&page.records[0], &record.redacted());
    }
    assert_stored(&h, &record).await;
}

/// The history shows how a session ended, by whom and when.
pub async fn list_shows_how_sessions_ended(h: Harness) {
    let (by_hand, mut past, evicted) = (full("ann"), full("bob"), full("cid"));
    past.expires_at = at(5);
    given_all(&h, &[by_hand.clone(), past.clone(), evicted.clone()]).await;
    sign_out(&h, by_hand.id, 7).await;
    assert_eq!(expire(&h, 5, 10).await.len(), 1);
    let new = record("cid");
    h.create(&new, &limit(1, OnExceed::EndOldest, 6)).await.expect("create");
    for record in page(&h, &all().with_state(StateFilter::Ended)).await.records {
        assert_same(&record, &*h.loaded(record.id).await);
    }
    assert_eq!(found(&h, all().with_state(StateFilter::Ended)).await, ids_of([&by_hand, &past, &evicted]));
}

/// A page holds 1 to 500 records; zero and more than 500 are refused, not adjusted.
pub async fn list_of_zero_or_501_records_is_invalid(h: Harness) {
    h.given(&record("ann")).await;
    for size in [0, 501, usize::MAX] {
        let answer = h.store().list(&all().with_limit(size)).await;
        assert_kind(answer, ErrorKind::Invalid);
    }
    assert_eq!(listed(&h, all().with_limit(1)).await.len(), 1);
}
