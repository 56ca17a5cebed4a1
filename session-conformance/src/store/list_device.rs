//! `list` by device.

use session_core::{DeviceId, EndScope, ListQuery, Revision, SessionKind, SessionRecord, StateFilter};

use super::paging::{in_order, pages};
use super::{found, given_all, given_ended, ids_of, listed, on_device, page, sign_out};
use crate::fixtures::{anonymous, at, device_id, full, full_at, logged_out, record, user};
use crate::harness::Harness;

fn of(name: &str, device: DeviceId) -> ListQuery {
    ListQuery::default().with_user(user(name)).with_device(device)
}

/// The list shows a user's sessions on the device, in every state: none on another device or on no
/// device, and none of another user on the same device.
pub async fn list_by_device_shows_the_users_sessions_on_it(h: Harness) {
    let (phone, tablet) = (device_id(), device_id());
    let (theirs, over) = ([on_device("ann", phone), on_device("ann", phone)], on_device("ann", phone));
    let others = [on_device("ann", tablet), on_device("bob", phone), record("ann"), anonymous()];
    given_all(&h, &theirs).await;
    given_all(&h, &others).await;
    given_ended(&h, &over, &logged_out(1)).await;
    assert_eq!(found(&h, of("ann", phone)).await, ids_of(theirs.iter().chain([&over])));
    assert_eq!(found(&h, of("ann", tablet)).await, [others[0].id]);
    assert_eq!(found(&h, of("bob", phone)).await, [others[1].id]);
    assert_eq!(found(&h, of("bob", tablet)).await, []);
    assert_eq!(found(&h, of("ann", device_id())).await, []);
}

/// Without a user, the list shows all sessions on the device, including anonymous ones.
pub async fn list_by_device_without_a_user_shows_all_on_it(h: Harness) {
    let phone = device_id();
    let mut visitor = anonymous();
    visitor.device_id = Some(phone);
    let on_it = [on_device("ann", phone), on_device("bob", phone), visitor];
    given_all(&h, &on_it).await;
    given_all(&h, &[full("ann"), record("bob"), anonymous()]).await;
    let query = ListQuery::default().with_device(phone);
    assert_eq!(found(&h, query.clone()).await, ids_of(&on_it));
    assert_eq!(found(&h, query.with_user(user("cid"))).await, []);
}

/// The device combines with every other filter.
pub async fn list_by_device_works_with_other_filters(h: Harness) {
    let phone = device_id();
    let made = |millis, kind| {
        let mut record = full_at("ann", millis);
        (record.device_id, record.kind, record.secret) = (Some(phone), kind, None);
        record
    };
    let (web, api, over) =
        (made(0, SessionKind::Web), made(10, SessionKind::Api), made(20, SessionKind::Web));
    let mut past = made(30, SessionKind::Web);
    past.expires_at = at(40);
    let elsewhere = full_at("ann", 15);
    given_all(&h, &[web.clone(), api.clone(), past.clone(), elsewhere]).await;
    given_ended(&h, &over, &logged_out(35)).await;
    let query = of("ann", phone);
    let live = query.clone().with_state(StateFilter::Live(at(40)));
    assert_eq!(found(&h, live.clone()).await, ids_of([&web, &api]));
    assert_eq!(found(&h, live.clone().with_kind(SessionKind::Api)).await, [api.id]);
    assert_eq!(found(&h, query.clone().with_state(StateFilter::Ended)).await, [over.id]);
    assert_eq!(found(&h, query.clone().with_created_since(at(10))).await, ids_of([&api, &over, &past]));
    assert_eq!(found(&h, query.clone().with_username("name of ann")).await.len(), 4);
    assert_eq!(found(&h, query.with_username("name of bob")).await, []);
}

/// Pages of a device hold its sessions only, newest first, and a position leads to older ones. The
/// manager finds the newest earlier session on a device this way.
pub async fn pages_of_a_device_lead_to_older_sessions(h: Harness) {
    let phone = device_id();
    let mut records: Vec<_> = (0..12).map(|number| full_at("ann", 10 * (number / 2))).collect();
    records.iter_mut().step_by(3).for_each(|record| record.device_id = Some(phone));
    given_all(&h, &records).await;
    let on_it: Vec<_> = records.iter().step_by(3).cloned().collect();
    for size in [1, 2, 3, 4, 5] {
        assert_eq!(pages(&h, &of("ann", phone), size).await, in_order(&on_it));
        assert_eq!(pages(&h, &ListQuery::default().with_device(phone), size).await, in_order(&on_it));
    }
    let after = |record: &SessionRecord| of("ann", phone).with_after(Some(session_core::Cursor::of(record)));
    for (number, record) in on_it.iter().enumerate() {
        assert_eq!(listed(&h, after(record)).await, in_order(&on_it[..number]));
    }
    let newest = page(&h, &after(&on_it[3]).with_limit(1)).await;
    assert_eq!(newest.records.iter().map(|record| record.id).collect::<Vec<_>>(), [on_it[2].id]);
}

/// A session that an update moves to another device, or that ends, is listed by its stored state.
pub async fn list_by_device_follows_every_write(h: Harness) {
    let (old, new) = (device_id(), device_id());
    let (mut moved, mut parted, stays) =
        (on_device("ann", old), on_device("ann", old), on_device("ann", old));
    given_all(&h, &[moved.clone(), parted.clone(), stays.clone()]).await;
    (moved.device_id, parted.device_id) = (Some(new), None);
    h.update(&moved, Revision::FIRST).await.expect("update");
    h.update(&parted, Revision::FIRST).await.expect("update");
    assert_eq!(found(&h, of("ann", old)).await, [stays.id]);
    assert_eq!(found(&h, of("ann", new)).await, [moved.id]);
    sign_out(&h, stays.id, 1).await;
    let live = of("ann", old).with_state(StateFilter::Live(at(1)));
    assert_eq!(found(&h, live).await, []);
    assert_eq!(found(&h, of("ann", old)).await, [stays.id]);
    let scope = EndScope::Device { user: user("ann"), device: new };
    assert_eq!(h.end(&scope, &logged_out(2)).await, [moved.id]);
}
