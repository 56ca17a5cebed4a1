//! The store suite in a namespace of a shared store, and what two namespaces know of each other: nothing.

use std::sync::Arc;

use session_conformance::fixtures::{anonymous, at, full, limit, logged_out, record, touch, user};
use session_conformance::reference::MapStore;
use session_conformance::{CASE_TIME_LIMIT, Form, Harness, StoreCase, assert_kind, store_cases};
use session_core::{
    EndScope, ErrorKind, LimitScope, ListQuery, NamespacedStore, OnExceed, Revision, SessionRecord,
    SessionStore, StateFilter,
};

use crate::support::{be_quiet_about_checks, in_parallel};

/// Cases with user ids or names of 255 bytes. In a namespace they are shorter by its length plus one, as its documentation says.
const NEED_FULL_LENGTH: &[&str] = &[
    "records_at_the_edge_of_the_rules_are_kept",
    "user_ids_of_255_bytes_differ_by_the_last",
    "user_names_of_255_bytes_differ_by_the_last",
];

/// Cases that look at erased sessions. They belong to nobody, and so to no namespace, as its documentation says.
const LOOK_AT_ERASED: &[&str] = &[
    "erase_brings_nothing_back",
    "erase_leaves_the_tombstone_and_nothing_of_the_user",
    "erase_takes_the_session_out_of_the_users_lists",
];

/// Cases about `expire`, `purge` and `stats`, which a namespace passes on to the whole store, as its documentation says. They hold
/// as long as nobody else uses it.
const STORE_WIDE: &[&str] = &[
    "erased_sessions_are_purged_by_their_end",
    "a_purge_deletes_only_what_a_sweep_ended",
    "create_is_seen_at_once_by_every_query",
    "create_of_a_foreign_id_leaves_no_trace",
    "end_is_seen_at_once_by_every_query",
    "expire_ends_at_most_the_limit",
    "expire_finds_the_expired_among_many_live_ones",
    "expire_of_500_leaves_the_501st",
    "extreme_times_can_be_asked_about",
    "lifetimes_of_400_days_are_kept",
    "pages_go_on_after_the_position_was_purged",
    "parallel_purges_count_each_session_once",
    "purge_deletes_at_most_the_limit",
    "purge_deletes_only_ends_before_the_time",
    "purge_frees_the_id",
    "purge_goes_by_the_end",
    "purge_leaves_nothing_behind",
    "purge_never_deletes_an_active_session",
    "purge_of_500_leaves_the_501st",
    "sessions_live_beyond_the_year_2038",
    "sessions_live_beyond_the_year_2106",
    "sessions_live_until_the_end_of_the_year_9999",
    "stats_count_every_session_once",
    "stats_count_users_with_live_sessions_once",
    "stats_judge_at_the_given_time",
    "stats_of_an_empty_store_are_empty",
    "stats_show_the_oldest_and_newest_creation",
    "touch_of_an_unknown_id_is_skipped_and_inserts_nothing",
    "update_of_a_purged_session_is_not_found",
    "user_ids_are_not_numbers",
    "user_ids_are_not_patterns",
    "user_ids_are_not_queries",
    "user_ids_differ_by_case",
    "user_ids_differ_by_spaces",
    "user_ids_differ_by_unicode_form",
    "user_ids_keep_characters_of_four_bytes",
    "user_ids_may_contain_control_characters",
    "user_ids_may_contain_separators",
];

/// Fails beside another namespace only if its sweep meets the other one's expired session first.
const STORE_WIDE_AT_TIMES: &str = "nothing_makes_an_ended_session_active_again";

#[test]
fn every_case_passes_in_a_namespace_of_an_empty_store() {
    assert_fail_exactly(&[NEED_FULL_LENGTH, LOOK_AT_ERASED], async || Arc::new(MapStore::default()));
}

#[test]
fn every_case_passes_beside_another_namespace() {
    assert_fail_exactly(
        &[NEED_FULL_LENGTH, LOOK_AT_ERASED, STORE_WIDE, &[STORE_WIDE_AT_TIMES]],
        shared_store,
    );
}

/// Runs the whole suite. What is excepted must fail: an exception that nobody needs hides something.
#[track_caller]
fn assert_fail_exactly<F>(excepted: &[&[&str]], store: impl Fn() -> F + Sync)
where
    F: Future<Output = Arc<MapStore>> + Send + 'static,
{
    be_quiet_about_checks();
    let failed = in_parallel(store_cases(), |case| {
        let store = store();
        let open = async { Harness::in_form(namespace(store.await, "shop"), Form::Bare) };
        case.check(CASE_TIME_LIMIT, open).is_err()
    });
    let failed = store_cases().iter().zip(failed).filter(|(_, failed)| *failed);
    let mut failed: Vec<_> = failed.map(|(case, _)| StoreCase::name(case)).collect();
    let mut excepted = excepted.concat();
    if !failed.contains(&STORE_WIDE_AT_TIMES) {
        excepted.retain(|name| *name != STORE_WIDE_AT_TIMES);
    }
    failed.sort_unstable();
    excepted.sort_unstable();
    assert_eq!(failed, excepted);
}

/// A store in which another application keeps sessions of the users that the cases use: live, expired and ended ones.
async fn shared_store() -> Arc<MapStore> {
    let shared = Arc::new(MapStore::default());
    let other = namespace(Arc::clone(&shared), "forum");
    for name in ["ann", "bob", "cid", "dan", "user"] {
        let (mut expired, ended) = (full(name), full(name));
        expired.expires_at = at(1);
        for record in [full(name), expired, ended.clone(), anonymous()] {
            other.create(record.into(), None).await.unwrap();
        }
        other.end(&EndScope::id(ended.id), &logged_out(1)).await.unwrap();
    }
    shared
}

fn namespace(store: Arc<MapStore>, name: &str) -> NamespacedStore<Arc<MapStore>> {
    NamespacedStore::new(store, name).unwrap()
}

/// Two namespaces of one store, as what cases are given.
fn twins() -> (Harness, Harness) {
    let shared = Arc::new(MapStore::default());
    let open = |name| Harness::in_form(namespace(Arc::clone(&shared), name), Form::Bare);
    (open("shop"), open("forum"))
}

/// Creates sessions of one and the same user, on one and the same device, in both namespaces.
async fn one_session_each(shop: &Harness, forum: &Harness) -> (SessionRecord, SessionRecord) {
    let (mine, mut theirs) = (full("ann"), full("ann"));
    theirs.device_id = mine.device_id;
    shop.given(&mine).await;
    forum.given(&theirs).await;
    (mine, theirs)
}

#[tokio::test]
async fn a_session_is_loaded_and_listed_in_its_own_namespace_only() {
    let (shop, forum) = twins();
    let (mine, theirs) = one_session_each(&shop, &forum).await;
    let anonymous = anonymous();
    forum.given(&anonymous).await;

    assert_eq!(shop.load(theirs.id).await, None);
    assert_eq!(shop.load(anonymous.id).await, None);
    let found = shop.store().load(&[mine.id, theirs.id, anonymous.id]).await.unwrap();
    assert_eq!(found, [Arc::new(mine.clone())]);
    let queries = [
        ListQuery::default(),
        ListQuery::default().with_user(user("ann")),
        ListQuery::default().with_username("name of ann"),
        ListQuery::default().with_state(StateFilter::Live(at(2))).with_limit(1),
    ];
    for query in queries {
        let page = shop.store().list(&query).await.unwrap();
        assert_eq!(page.records, [Arc::new(mine.redacted())], "{query:?}");
        assert_eq!(page.next, None, "{query:?}");
    }
}

#[tokio::test]
async fn a_session_of_another_namespace_is_neither_updated_nor_touched() {
    let (shop, forum) = twins();
    let (_, theirs) = one_session_each(&shop, &forum).await;
    let mut taken = theirs.clone();
    taken.label = Some("taken over".to_owned());

    assert_kind(shop.update(&taken, Revision::FIRST).await, ErrorKind::NotFound);
    assert_eq!(shop.store().touch(&[touch(theirs.id, 10)]).await.unwrap(), 0);
    assert_eq!(*forum.loaded(theirs.id).await, theirs);
}

#[tokio::test]
async fn an_id_that_another_namespace_uses_is_taken_and_stays_hidden() {
    let (shop, forum) = twins();
    let (_, theirs) = one_session_each(&shop, &forum).await;
    assert_kind(shop.store().create(theirs.clone().into(), None).await, ErrorKind::AlreadyExists);
    assert_eq!(shop.load(theirs.id).await, None);
    assert_eq!(*forum.loaded(theirs.id).await, theirs);
}

#[tokio::test]
async fn no_scope_ends_sessions_of_another_namespace() {
    let (shop, forum) = twins();
    let (mine, theirs) = one_session_each(&shop, &forum).await;
    let (ann, device) = (user("ann"), mine.device_id.unwrap());

    let ids = EndScope::Ids(vec![theirs.id]);
    let except = EndScope::UserExcept { user: ann.clone(), keep: mine.id };
    for scope in [ids, except] {
        assert_eq!(shop.end(&scope, &logged_out(5)).await, [], "{scope:?}");
    }
    assert_eq!(shop.end(&EndScope::Device { user: ann.clone(), device }, &logged_out(5)).await, [mine.id]);
    assert_eq!(shop.end(&EndScope::User(ann), &logged_out(5)).await, []);
    assert_eq!(*forum.loaded(theirs.id).await, theirs);
}

#[tokio::test]
async fn ending_all_of_a_user_keeps_their_sessions_elsewhere() {
    let (shop, forum) = twins();
    let (mine, theirs) = one_session_each(&shop, &forum).await;
    assert_eq!(shop.end(&EndScope::User(user("ann")), &logged_out(5)).await, [mine.id]);
    assert_eq!(*forum.loaded(theirs.id).await, theirs);
    let except = EndScope::UserExcept { user: user("ann"), keep: mine.id };
    assert_eq!(forum.end(&except, &logged_out(6)).await, [theirs.id], "the kept id is not one of theirs");
}

#[tokio::test]
async fn a_limit_counts_and_ends_sessions_of_its_own_namespace_only() {
    for scope in [LimitScope::User, LimitScope::UserAndDeviceKind] {
        let (shop, forum) = twins();
        let (mine, theirs) = one_session_each(&shop, &forum).await;
        let second = limit(2, OnExceed::Refuse, 2).with_scope(scope);
        assert_eq!(shop.create(&full("ann"), &second).await.unwrap(), [], "theirs was counted");
        let one = limit(1, OnExceed::EndOldest, 3).with_scope(scope);
        let ended = shop.create(&full("ann"), &one).await.unwrap();
        assert_eq!(ended.len(), 2);
        assert!(ended.iter().any(|ended| ended.id == mine.id));
        assert_eq!(*forum.loaded(theirs.id).await, theirs);
    }
}

#[tokio::test]
async fn a_refusal_shows_own_sessions_without_the_namespace() {
    let (shop, forum) = twins();
    let (mine, _) = one_session_each(&shop, &forum).await;
    let refused = shop.create(&record("ann"), &limit(1, OnExceed::Refuse, 2)).await;
    let error = assert_kind(refused, ErrorKind::LimitExceeded);
    assert_eq!(error.live_sessions(), [Arc::new(mine.redacted())]);
}

#[tokio::test]
async fn names_that_look_like_a_namespace_stay_in_theirs() {
    let (shop, forum) = twins();
    for name in ["forum\u{1f}ann", "forum\u{1f}", "\u{1f}ann"] {
        let inside = record(name);
        shop.given(&inside).await;
        assert_eq!(*shop.loaded(inside.id).await, inside, "{name:?}");
        assert_eq!(forum.load(inside.id).await, None, "{name:?}");
    }
    assert_eq!(forum.store().list(&ListQuery::default()).await.unwrap().records, []);
    assert_eq!(forum.end(&EndScope::User(user("ann")), &logged_out(5)).await, []);
}

#[tokio::test]
async fn a_sweep_returns_sessions_of_its_own_namespace_only() {
    let (shop, forum) = twins();
    let (mine, theirs) = one_session_each(&shop, &forum).await;
    let swept = shop.store().expire(at(10_000_000), 10).await.unwrap();
    assert_eq!(session_conformance::ids(&swept), [mine.id]);
    // The sweep is store-wide all the same.
    assert!(forum.loaded(theirs.id).await.ended().is_some());
}
