//! `list`: order and pages.

use session_core::limits::MAX_PAGE;
use session_core::{Cursor, ListQuery, SessionId, SessionRecord, StateFilter, Timestamp};

use super::{ago, apply, given_all, listed, page, purge, several, sign_out};
use crate::fixtures::{anonymous, at, id_at, record, record_at, touch, user};
use crate::harness::Harness;

fn all() -> ListQuery {
    ListQuery::default()
}

/// Returns the ids in the order of a listing: newest first, by id within a millisecond.
pub(super) fn in_order<'a>(records: impl IntoIterator<Item = &'a SessionRecord>) -> Vec<SessionId> {
    let mut positions: Vec<_> = records.into_iter().map(Cursor::of).collect();
    positions.sort_unstable_by(|one, other| other.cmp(one));
    positions.into_iter().map(|position| position.id).collect()
}

/// Reads page after page, passes the position on as text like a web page does, and checks every
/// page.
pub(super) async fn pages(h: &Harness, query: &ListQuery, size: usize) -> Vec<SessionId> {
    let mut query = query.clone().with_limit(size);
    let mut seen = Vec::new();
    loop {
        let page = page(h, &query).await;
        assert!(page.records.len() <= size, "a page is longer than requested");
        seen.extend(page.records.iter().map(|record| record.id));
        let Some(next) = page.next else { return seen };
        assert_eq!(page.records.len(), size, "a page before the last one is short");
        assert_eq!(
            Some(next),
            page.records.last().map(|record| Cursor::of(record)),
            "next is not the last position"
        );
        query.after = Some(next.to_string().parse().expect("a cursor"));
        assert!(seen.len() < 10_000, "the pages never end");
    }
}

/// The list is newest first, to the millisecond, regardless of the order of insertion. Catches
/// times that are kept in seconds.
pub async fn list_is_newest_first(h: Harness) {
    let mut records = several("ann", 9);
    records.rotate_left(4);
    records.swap(1, 7);
    for record in &records {
        h.given(record).await;
    }
    assert_eq!(listed(&h, all()).await, in_order(&records));
    assert_eq!(listed(&h, all().with_user(user("ann"))).await, in_order(&records));
}

/// Sessions of one millisecond are ordered by their ids, compared as bytes.
pub async fn list_orders_one_millisecond_by_id(h: Harness) {
    let records: Vec<_> = (0..12).map(|_| record("ann")).chain((0..12).map(|_| anonymous())).collect();
    given_all(&h, &records).await;
    assert_eq!(listed(&h, all()).await, in_order(&records));
}

/// The creation time determines the order, even if the id was minted at another time: ids of other
/// systems are not ordered by time.
pub async fn list_orders_by_creation_before_id(h: Harness) {
    let mut records = several("ann", 8);
    let ann = user("ann");
    for (number, record) in (0_u64..).zip(&mut records) {
        record.id = id_at(at(1_000 - number * 7), Some(&ann));
    }
    given_all(&h, &records).await;
    assert_eq!(listed(&h, all()).await, in_order(&records));
    assert_eq!(pages(&h, &all(), 3).await, in_order(&records));
}

/// Neither touches, updates nor ends move a session in the list.
pub async fn list_order_does_not_change_with_use(h: Harness) {
    let records = several("ann", 4);
    given_all(&h, &records).await;
    apply(&h, &[touch(records[0].id, 900)]).await;
    h.update(&records[1], records[1].revision).await.expect("update");
    sign_out(&h, records[2].id, 950).await;
    assert_eq!(listed(&h, all()).await, in_order(&records));
}

/// Pages of any size join to the whole list: nothing twice, nothing missing, and the last page has
/// no next one.
pub async fn pages_join_to_the_whole_list(h: Harness) {
    let records = several("ann", 12);
    given_all(&h, &records).await;
    for size in [1, 2, 3, 4, 5, 6, 11, 12, 13] {
        assert_eq!(pages(&h, &all(), size).await, in_order(&records));
    }
}

/// A page can begin within a millisecond. Catches a cursor that holds the time alone.
pub async fn pages_can_begin_within_one_millisecond(h: Harness) {
    let records: Vec<_> = (0..9).map(|number| record_at("ann", number / 4)).collect();
    given_all(&h, &records).await;
    for size in [1, 2, 3, 4] {
        assert_eq!(pages(&h, &all(), size).await, in_order(&records));
    }
}

/// A page that ends with the last match has no next page. Catches "the page is full" treated as
/// "there is more".
pub async fn next_is_absent_after_exactly_one_page(h: Harness) {
    let records = several("ann", 4);
    given_all(&h, &records).await;
    for (size, more) in [(3, true), (4, false), (5, false)] {
        assert_eq!(page(&h, &all().with_limit(size)).await.next.is_some(), more);
    }
}

/// Filters apply before the cut: each page is full of matches, however rare they are, and only
/// further matches produce a next page.
pub async fn pages_are_cut_after_the_filters(h: Harness) {
    let mut records = several("ann", 40);
    let bob = user("bob");
    for record in records.iter_mut().step_by(8) {
        (record.id, record.user_id) = (id_at(record.created_at, Some(&bob)), Some(bob.clone()));
    }
    let visitors: Vec<_> = records.iter().step_by(8).cloned().collect();
    given_all(&h, &records).await;
    for size in [1, 2, 4, 5] {
        assert_eq!(pages(&h, &all().with_user(bob.clone()), size).await, in_order(&visitors));
        assert_eq!(pages(&h, &all().with_username("name of ann"), size).await.len(), 40);
    }
    for record in records.iter().filter(|record| record.user_id.as_ref() != Some(&bob)) {
        sign_out(&h, record.id, 100).await;
    }
    for size in [2, 5] {
        let live = all().with_state(StateFilter::Live(at(100)));
        assert_eq!(pages(&h, &live, size).await, in_order(&visitors));
    }
}

/// Sessions that begin between two pages shift nothing: the pages show the earlier sessions once
/// each.
pub async fn pages_are_stable_under_inserts(h: Harness) {
    let records: Vec<_> = (0..8).map(|number| record_at("ann", 10 * number)).collect();
    given_all(&h, &records).await;
    let first = page(&h, &all().with_limit(3)).await;
    let newer = [record_at("ann", 500), record_at("ann", 501), record_at("ann", 75)];
    given_all(&h, &newer).await;
    let older = record_at("ann", 5);
    h.given(&older).await;
    let rest = listed(&h, all().with_after(first.next)).await;
    assert_eq!(rest, in_order(records[..5].iter().chain([&older])));
}

/// Sessions that end between two pages leave the list of live ones, and no other session is
/// skipped.
pub async fn pages_are_stable_under_ends(h: Harness) {
    let records = several("ann", 10);
    given_all(&h, &records).await;
    let live = all().with_user(user("ann")).with_state(StateFilter::Live(at(50)));
    let first = page(&h, &live.clone().with_limit(4)).await;
    for number in [9, 6, 5, 2] {
        sign_out(&h, records[number].id, 60).await;
    }
    let rest = listed(&h, live.with_after(first.next)).await;
    assert_eq!(rest, in_order([&records[4], &records[3], &records[1], &records[0]]));
}

/// A position stays valid after its session was purged.
pub async fn pages_go_on_after_the_position_was_purged(h: Harness) {
    let records = several("ann", 6);
    given_all(&h, &records).await;
    let first = page(&h, &all().with_limit(2)).await;
    for record in &records[4..] {
        sign_out(&h, record.id, 1).await;
    }
    assert_eq!(purge(&h, at(2), 10).await, 2);
    assert_eq!(listed(&h, all().with_after(first.next)).await, in_order(&records[..4]));
}

/// A position need not be that of a session: it may be before the first, after the last, or between
/// two.
pub async fn pages_can_begin_at_any_position(h: Harness) {
    let records: Vec<_> = (0..4).map(|number| record_at("ann", 10 * number)).collect();
    given_all(&h, &records).await;
    let after = |time: Timestamp| all().with_after(Some(Cursor::new(time, id_at(at(0), None))));
    assert_eq!(listed(&h, after(at(15))).await, in_order(&records[..2]));
    assert_eq!(listed(&h, after(at(1_000))).await, in_order(&records));
    assert_eq!(listed(&h, after(Timestamp::MAX)).await, in_order(&records));
    for beyond in [ago(1), Timestamp::EPOCH, Timestamp::from_millis(i64::MIN)] {
        assert_eq!(listed(&h, after(beyond)).await, []);
    }
}

/// A page of 500 holds 500, and one further record produces a next page. Catches a driver's own
/// page size.
pub async fn page_of_500_is_followed_by_the_501st(h: Harness) {
    let records = several("ann", MAX_PAGE + 1);
    given_all(&h, &records).await;
    let first = page(&h, &all().with_limit(MAX_PAGE)).await;
    assert_eq!(first.records.len(), 500);
    assert_eq!(listed(&h, all().with_after(first.next)).await, [records[0].id]);
    assert_eq!(pages(&h, &all().with_user(user("ann")), 499).await, in_order(&records));
}
