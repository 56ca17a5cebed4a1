//! One function per case, each named after the promise that it checks.

use session_core::{
    EndScope, Ended, ErrorKind, ListQuery, OnExceed, Revision, SessionId, SessionKind, StateFilter,
    StoreStats,
};

use super::TenantHarness;
use super::harness::{Holdings, given_sessions_in_every_state, given_twins, twins};
use crate::fixtures::{at, full, full_at, limit, logged_out, record_at, touch, user};
use crate::harness::{Harness, assert_kind, ids};
use crate::store::{
    TASKS, apply, assert_all_stored, assert_empty, assert_stored, end, expire, found, ids_of, live, load,
    page, purge, race, stats,
};

/// Each tenant can create one id once, under a limit and without one. The session of the other
/// tenant stays unchanged.
pub async fn tenants_are_apart_in_creates(tenants: TenantHarness) {
    let (first, second) = (&tenants.first, &tenants.second);
    let [mine, theirs] = twins("ann", 1);
    first.given(&mine).await;
    assert_empty(second).await;
    let none = second.create(&theirs, &limit(1, OnExceed::Refuse, 5)).await.expect("create");
    assert!(none.is_empty());
    for (tenant, own) in [(first, &mine), (second, &theirs)] {
        assert_stored(tenant, own).await;
        let again = tenant.store().create(own.clone().into(), None).await;
        assert_kind(again, ErrorKind::AlreadyExists);
    }
}

/// A load returns the tenant's own session of an id, and no session that only another tenant has.
pub async fn tenants_are_apart_in_loads(tenants: TenantHarness) {
    for (here, there) in tenants.both_ways() {
        let alone = full("ann");
        here.given(&alone).await;
        assert!(there.load(alone.id).await.is_none());
        let other = full("ann");
        there.given(&other).await;
        let asked = [alone.id, other.id];
        assert_eq!(ids(&load(here, &asked).await), [alone.id]);
        assert_eq!(ids(&load(there, &asked).await), [other.id]);
    }
    let [mine, theirs] = twins("ann", 1);
    tenants.first.given(&mine).await;
    tenants.second.given(&theirs).await;
    assert_stored(&tenants.first, &mine).await;
    assert_stored(&tenants.second, &theirs).await;
}

/// Returns queries that find a session like the twins, each by another filter.
fn queries(name: &str, like: &session_core::SessionRecord) -> Vec<ListQuery> {
    let all = ListQuery::default();
    let device = like.device_id.expect("a device");
    vec![
        all.clone(),
        all.clone().with_user(user(name)),
        all.clone().with_username(format!("name of {name}")),
        all.clone().with_device(device),
        all.clone().with_user(user(name)).with_device(device),
        all.clone().with_kind(SessionKind::Web),
        all.clone().with_state(StateFilter::Live(at(5))),
        all.with_created_since(like.created_at),
    ]
}

/// A list shows the tenant's own sessions, with any filter.
pub async fn tenants_are_apart_in_lists(tenants: TenantHarness) {
    for (number, (here, there)) in tenants.both_ways().into_iter().enumerate() {
        let name = format!("user {number}");
        let session = full(&name);
        here.given(&session).await;
        for query in queries(&name, &session) {
            assert!(!found(there, query.clone()).await.contains(&session.id), "{query:?}");
            assert_eq!(found(here, query.with_user(user(&name))).await, [session.id]);
        }
        crate::store::sign_out(here, session.id, 6).await;
        let ended = ListQuery::default().with_state(StateFilter::Ended);
        assert!(!found(there, ended).await.contains(&session.id));
    }
}

/// Pages hold the tenant's own sessions only, and end with them.
pub async fn tenants_are_apart_in_pages(tenants: TenantHarness) {
    let mut own = [Vec::new(), Vec::new()];
    for millis in 0..10 {
        let (number, tenant) = match millis % 2 {
            0 => (0, &tenants.first),
            _ => (1, &tenants.second),
        };
        let record = record_at("ann", millis);
        tenant.given(&record).await;
        own[number].insert(0, record.id);
    }
    for (tenant, own) in [(&tenants.first, &own[0]), (&tenants.second, &own[1])] {
        let query = ListQuery::default().with_user(user("ann")).with_limit(3);
        let first = page(tenant, &query).await;
        let second = page(tenant, &query.with_after(first.next)).await;
        assert!(first.next.is_some() && second.next.is_none());
        let shown = first.records.iter().chain(&second.records).map(|record| record.id);
        assert_eq!(shown.collect::<Vec<_>>(), *own);
    }
}

/// Counts include the tenant's own sessions only.
pub async fn tenants_are_apart_in_stats(tenants: TenantHarness) {
    let (first, second) = (&tenants.first, &tenants.second);
    let before = given_sessions_in_every_state(first).await;
    assert_eq!(stats(second, 5).await, StoreStats::default());
    given_sessions_in_every_state(second).await;
    second.given(&full_at("cid", 700)).await;
    before.assert_unchanged(first).await;
    assert_eq!(stats(second, 5).await.newest, Some(at(700)));
}

/// An update writes the tenant's own session, checks its revision, and finds no session of another
/// tenant.
pub async fn tenants_are_apart_in_updates(tenants: TenantHarness) {
    for (round, (here, there)) in (0..).zip(tenants.both_ways()) {
        let mut own = given_twins(here, there, "ann", round..round + 1).await.remove(0);
        let before = Holdings::of(there).await;
        own.label = Some("updated".to_owned());
        own.revision = here.update(&own, Revision::FIRST).await.expect("update");
        own.revision = here.update(&own, own.revision).await.expect("update");
        assert_stored(here, &own).await;
        before.assert_unchanged(there).await;
        let alone = full("ann");
        here.given(&alone).await;
        assert_kind(there.update(&alone, Revision::FIRST).await, ErrorKind::NotFound);
        assert_stored(here, &alone).await;
        before.assert_unchanged(there).await;
    }
}

/// A touch updates the tenant's own session.
pub async fn tenants_are_apart_in_touches(tenants: TenantHarness) {
    for (round, (here, there)) in (0..).zip(tenants.both_ways()) {
        let own = given_twins(here, there, "ann", 10 * round..10 * round + 3).await;
        let alone = full("ann");
        there.given(&alone).await;
        let before = Holdings::of(there).await;
        let mut batch: Vec<_> = own.iter().map(|record| touch(record.id, 50)).collect();
        batch.push(touch(alone.id, 50));
        assert_eq!(apply(here, &batch).await, 3);
        before.assert_unchanged(there).await;
    }
}

/// Asserts that an end of a scope ends the twins of `here`, returns them, and leaves `there`
/// unchanged.
async fn assert_ends_here(here: &Harness, there: &Harness, scope: &EndScope, own: &[SessionId]) {
    let before = Holdings::of(there).await;
    let returned = end(here, scope, &logged_out(5)).await;
    assert_eq!(ids(&returned), own);
    before.assert_unchanged(there).await;
    assert_all_stored(here, returned.iter().map(|record| &**record)).await;
}

/// An end of ids ends the tenant's own sessions, and none that only another tenant has.
pub async fn tenants_are_apart_in_ends_of_ids(tenants: TenantHarness) {
    for (round, (here, there)) in (0..).zip(tenants.both_ways()) {
        let own = ids_of(&given_twins(here, there, "ann", 10 * round..10 * round + 3).await);
        let alone = full("ann");
        there.given(&alone).await;
        let mut named = own.clone();
        named.push(alone.id);
        assert_ends_here(here, there, &EndScope::Ids(named), &own).await;
        let again = Ended::new(session_core::EndReason::RevokedByAdmin, at(6), session_core::Actor::System);
        assert_eq!(there.end(&EndScope::Ids(own.clone()), &again).await, own, "they were live there");
    }
}

/// A user of one tenant is not the user of the same name of another. This holds for ends of all of
/// their sessions, of all but one, and of those on a device.
pub async fn tenants_are_apart_in_ends_of_users(tenants: TenantHarness) {
    for (round, (here, there)) in (0..).zip(tenants.both_ways()) {
        for (kind, name) in (0..).zip(["ann", "bob", "cid"]) {
            let first = 100 * round + 10 * kind;
            let own = given_twins(here, there, name, first..first + 3).await;
            let (user, keep) = (user(name), own[0].id);
            let device = own[0].device_id.expect("a device");
            let (scope, ends) = match kind {
                0 => (EndScope::User(user), ids_of(&own)),
                1 => (EndScope::UserExcept { user, keep }, ids_of(&own[1..])),
                _ => (EndScope::Device { user, device }, vec![keep]),
            };
            assert_ends_here(here, there, &scope, &ends).await;
            let left =
                end(there, &EndScope::User(own[0].user_id.clone().expect("a user")), &logged_out(6)).await;
            assert_eq!(ids(&left), ids_of(&own), "they were live there");
            end(here, &EndScope::User(own[0].user_id.clone().expect("a user")), &logged_out(6)).await;
        }
    }
}

/// A limit counts and evicts sessions of its own tenant.
pub async fn tenants_are_apart_in_limits(tenants: TenantHarness) {
    for (round, (here, there)) in (0..).zip(tenants.both_ways()) {
        let name = format!("user {round}");
        let theirs = [record_at(&name, 0), record_at(&name, 1), record_at(&name, 2)];
        for record in &theirs {
            there.given(record).await;
        }
        let before = Holdings::of(there).await;
        let own = [record_at(&name, 10), record_at(&name, 11), record_at(&name, 12)];
        let limit = limit(2, OnExceed::EndOldest, 100);
        for (number, record) in own.iter().enumerate() {
            let ended = here.create(record, &limit).await.expect("create");
            assert_eq!(ids(&ended), ids_of(if number == 2 { &own[..1] } else { &[] }));
        }
        before.assert_unchanged(there).await;
        assert_eq!(live(there, &name, 100).await, ids_of(&theirs));
    }
}

/// A limit that refuses counts and returns sessions of its own tenant.
pub async fn tenants_are_apart_in_refusals(tenants: TenantHarness) {
    for (round, (here, there)) in (0..).zip(tenants.both_ways()) {
        let name = format!("user {round}");
        let own = given_twins(here, there, &name, 0..2).await;
        there.given(&record_at(&name, 3)).await;
        let before = Holdings::of(there).await;
        let limit = limit(3, OnExceed::Refuse, 5);
        let third = full(&name);
        assert!(here.create(&third, &limit).await.expect("create").is_empty());
        let refused = here.create(&full(&name), &limit).await;
        let error = assert_kind(refused, ErrorKind::LimitExceeded);
        assert_eq!(ids(error.live_sessions()), ids_of(own.iter().chain([&third])));
        before.assert_unchanged(there).await;
    }
}

/// A sweep ends the tenant's own sessions, and returns none when none is left.
pub async fn tenants_are_apart_in_sweeps(tenants: TenantHarness) {
    for (round, (here, there)) in (0..).zip(tenants.both_ways()) {
        let own = given_twins(here, there, "ann", 10 * round..10 * round + 3).await;
        given_sessions_in_every_state(there).await;
        let before = Holdings::of(there).await;
        let swept = expire(here, 1_800_001, 500).await;
        let swept = ids(&swept);
        assert!(own.iter().all(|record| swept.contains(&record.id)));
        before.assert_unchanged(there).await;
        assert!(expire(here, 1_800_001, 500).await.is_empty());
    }
}

/// A purge deletes the tenant's own sessions.
pub async fn tenants_are_apart_in_purges(tenants: TenantHarness) {
    for (round, (here, there)) in (0..).zip(tenants.both_ways()) {
        let own = given_twins(here, there, "ann", 10 * round..10 * round + 3).await;
        for tenant in [here, there] {
            end(tenant, &EndScope::Ids(ids_of(&own)), &logged_out(5)).await;
        }
        let before = Holdings::of(there).await;
        assert_eq!(purge(here, at(6), 500).await, 3);
        before.assert_unchanged(there).await;
        assert_eq!(purge(here, at(6), 500).await, 0);
        assert!(load(here, &ids_of(&own)).await.is_empty());
        assert_eq!(purge(there, at(6), 500).await, 3);
    }
}

/// An erasure affects the user of its own tenant, and not the user of the same name of another.
pub async fn tenants_are_apart_in_erasures(tenants: TenantHarness) {
    for (round, (here, there)) in (0..).zip(tenants.both_ways()) {
        let name = format!("user {round}");
        let own = given_twins(here, there, &name, 0..3).await;
        for tenant in [here, there] {
            end(tenant, &EndScope::Ids(ids_of(&own)), &logged_out(5)).await;
        }
        let before = Holdings::of(there).await;
        assert_eq!(here.store().erase(&user(&name), 500).await.expect("erase"), 3);
        before.assert_unchanged(there).await;
        assert_eq!(here.store().erase(&user(&name), 500).await.expect("erase"), 0);
    }
}

/// Tenants that name a place name different ones, and always the same one. A shared cache separates
/// them by it.
pub async fn tenants_are_apart_by_their_places(tenants: TenantHarness) {
    let place = |h: &Harness| h.store().capabilities().place;
    let (first, second) = (place(&tenants.first), place(&tenants.second));
    if first.is_some() || second.is_some() {
        assert_ne!(first, second, "two tenants are at one place");
    }
    given_sessions_in_every_state(&tenants.first).await;
    assert_eq!((place(&tenants.first), place(&tenants.second)), (first, second));
}

/// Parallel sign-ins of one user with both tenants fill separate limits, and parallel ends reach
/// only the tenant that they were called on. Catches a lock or a count that tenants share.
pub async fn tenants_are_apart_in_races(tenants: TenantHarness) {
    let (first, second) = (tenants.first.clone(), tenants.second.clone());
    let at_most = limit(3, OnExceed::EndOldest, 1_000);
    let answers = race(&first, TASKS, |number, first| {
        let tenant = if number % 2 == 0 { first } else { second.clone() };
        async move {
            let record = record_at("ann", number as u64);
            (number % 2, ids(&tenant.create(&record, &at_most).await.expect("create")))
        }
    });
    let mut gone = [Vec::new(), Vec::new()];
    for (tenant, evicted) in answers.await {
        gone[tenant].extend(evicted);
    }
    for (tenant, mut gone) in [&first, &second].into_iter().zip(gone) {
        gone.sort_unstable();
        assert_eq!(live(tenant, "ann", 1_000).await.len(), 3);
        assert_eq!(found(tenant, ListQuery::default().with_state(StateFilter::Ended)).await, gone);
    }
    let left = live(&second, "ann", 1_000).await;
    race(&first, TASKS / 8, |_, first| async move {
        end(&first, &EndScope::User(user("ann")), &logged_out(2_000)).await;
    })
    .await;
    assert_eq!((live(&first, "ann", 1_000).await, live(&second, "ann", 1_000).await), (Vec::new(), left));
}
