//! Rows that were damaged by hand.

use std::sync::Arc;

use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record_at, user};
use session_core::prelude::*;
use session_sqlx::SqlStore;

use super::calls::given;
use super::lab::{Lab, Raw, pool_of};
use super::on_each_database;
use super::target::Target;

on_each_database!(
    a_damaged_row_is_reported_as_corrupt_and_left_alone,
    a_damaged_row_ends_with_the_others,
    a_damaged_row_is_swept_with_the_others,
    damaged_rows_do_not_shorten_the_result_of_a_full_sweep,
);

/// The damages of a row: a name, and the assignments.
fn damages<D: Target>() -> Vec<(&'static str, String)> {
    let unknown_layout = D::blob(&[&[0x63, 0][..], &[7; 36]].concat());
    let set = [
        ("a secret of a wrong length", format!("secret = {}", D::blob(&[1, 0, 5]))),
        ("a secret of an unknown layout", format!("secret = {unknown_layout}")),
        ("a truncated refresh state", format!("refresh = {}", D::blob(&[1]))),
        ("an unknown kind", "kind = 'robot'".to_owned()),
        ("a reason without an end", "ended_reason = 'logged_out'".to_owned()),
        ("an end without a reason", "ended_at = 1767225600124".to_owned()),
        ("an unknown reason", ended::<D>("bored", "system")),
        ("an unknown actor", ended::<D>("logged_out", "robot")),
        ("data in an ended session", ended::<D>("logged_out", "system").replace(&D::blob(&[]), "data")),
        ("a secret in an ended session", ended::<D>("logged_out", "system").replace("NULL", "secret")),
        ("a negative revision", "revision = -3".to_owned()),
        ("an end before its beginning", "expires_at = created_at - 1".to_owned()),
        ("a last-seen time before the creation", "last_seen_at = created_at - 1".to_owned()),
        ("a negative idle timeout", "idle_timeout = -5".to_owned()),
        ("a negative version", "credential_version = -1".to_owned()),
        ("authentications that are no JSON", "auth = '[{\"no'".to_owned()),
        ("an address that is none", "ip_address = 'nowhere'".to_owned()),
        ("a last address that is none", "last_ip_address = '300.1.1.1'".to_owned()),
        ("a country in lower case", "geo_country_code = 'de'".to_owned()),
        ("an empty label", "label = ''".to_owned()),
        ("an unknown device", "device_kind = 'toaster'".to_owned()),
    ];
    set.into_iter().chain(D::NOT_UTF8.map(|set| ("a name that is no text", set.to_owned()))).collect()
}

fn ended<D: Target>(reason: &str, by: &str) -> String {
    let none = D::blob(&[]);
    format!(
        "ended_at = 1767225600124, ended_reason = '{reason}', ended_by = '{by}', \
         data = {none}, refresh = NULL, secret = NULL"
    )
}

/// Returns true for damage that a listing does not see, because it reads neither secrets nor data.
fn is_hidden(what: &str) -> bool {
    ["secret", "refresh", "data"].iter().any(|word| what.contains(word))
}

async fn damage<D: Target>(raw: &mut Raw<D>, id: SessionId, set: &str) {
    raw.run(&format!("UPDATE {{t}} SET {set} WHERE {}", is::<D>(id))).await;
}

fn is<D: Target>(id: SessionId) -> String {
    format!("id = {}", D::id(id.as_bytes()))
}

/// An id of another UUID version: a random one, as other programs make them.
fn foreign_id<D: Target>() -> String {
    let mut id = *session_conformance::fixtures::id_at(at(0), None).as_bytes();
    id[6] = 0x40 | (id[6] & 0x0f);
    format!("id = {}", D::id(&id))
}

async fn create<D: Target>(store: &SqlStore<D>, record: SessionRecord) -> Arc<SessionRecord> {
    let record = Arc::new(record);
    store.create(Arc::clone(&record), None).await.unwrap();
    record
}

async fn a_damaged_row_is_reported_as_corrupt_and_left_alone<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let store = lab.store(pool_of(3));
    let mut raw = lab.raw().await;
    let good = given(&store, "bob").await;
    for (what, set) in damages::<D>() {
        println!("{what}");
        let bad = create(&store, full("ann")).await;
        damage(&mut raw, bad.id, &set).await;
        let before = raw.content(&is::<D>(bad.id)).await;
        for ids in [vec![bad.id], vec![good.id, bad.id]] {
            assert_eq!(store.load(&ids).await.unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
        }
        let listed = store.list(&ListQuery::default()).await;
        let expected = if is_hidden(what) { Ok(2) } else { Err(ErrorKind::Corrupt) };
        let found = listed.map(|page| page.records.len()).map_err(|error| error.kind());
        assert_eq!(found, expected, "{what}");
        assert_eq!(store.load(&[good.id]).await.unwrap().len(), 1);
        assert_eq!(store.stats(at(1)).await.map_err(|error| error.kind()).err(), is_counted(what));
        store.touch(&[Touch::new(good.id, at(1), good.last_client.clone())], NOW).await.unwrap();
        assert_eq!(raw.content(&is::<D>(bad.id)).await, before, "{what}");

        // An update may repair the row or be refused, but the row stays.
        if let Err(error) = store.update(Arc::clone(&bad), bad.revision).await {
            assert!([ErrorKind::Corrupt, ErrorKind::Ended].contains(&error.kind()), "{what}: {error:?}");
            assert_eq!(raw.content(&is::<D>(bad.id)).await, before, "{what}");
        }
        raw.run(&format!("DELETE FROM {{t}} WHERE {}", is::<D>(bad.id))).await;
    }
}

/// Returns the error of statistics: they parse the reasons, and fail on an unknown one.
fn is_counted(what: &str) -> Option<ErrorKind> {
    (what == "an unknown reason").then_some(ErrorKind::Corrupt)
}

async fn a_damaged_row_ends_with_the_others<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let store = lab.store(pool_of(3));
    let mut raw = lab.raw().await;
    let foreign = ("an id of another version", foreign_id::<D>());
    for (what, set) in damages::<D>().into_iter().chain([foreign]) {
        println!("{what}");
        let bad = create(&store, full("ann")).await;
        let good = create(&store, record_at("ann", 1)).await;
        damage(&mut raw, bad.id, &set).await;
        // The limit counts the damaged session only if its row can be decoded.
        let new = Arc::new(record_at("ann", 2));
        let evicted =
            store.create(Arc::clone(&new), Some(&limit(1, OnExceed::EndOldest, 500))).await.unwrap();
        let mut evicted = ids(&evicted);
        evicted.retain(|id| *id != bad.id);
        assert_eq!(evicted, [good.id], "{what}");

        let ended = store.end(&EndScope::User(user("ann")), &logged_out(600), at(600)).await.unwrap();
        let mut ended = ids(&ended);
        // The end may repair the damaged row, which is then in the result.
        ended.retain(|id| *id != bad.id);
        assert_eq!(ended, [new.id], "{what}");
        assert_eq!(raw.number("SELECT COUNT(*) FROM {t} WHERE ended_at IS NULL").await, 0, "{what}");
        assert_eq!(store.purge(at(1_000), 500).await.unwrap(), 3, "{what}");
    }
    assert_eq!(raw.number("SELECT COUNT(*) FROM {t}").await, 0);
}

async fn a_damaged_row_is_swept_with_the_others<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let store = lab.store(pool_of(3));
    let mut raw = lab.raw().await;
    let foreign = ("an id of another version", foreign_id::<D>());
    for (what, set) in damages::<D>().into_iter().chain([foreign]) {
        println!("{what}");
        let mut sessions = [full("ann"), record_at("ann", 1), record_at("ann", 2)];
        sessions.iter_mut().for_each(|session| session.expires_at = at(900));
        let [bad, one, other] = sessions;
        let (bad, one, other) =
            (create(&store, bad).await, create(&store, one).await, create(&store, other).await);
        damage(&mut raw, bad.id, &set).await;
        let mut swept = ids(&store.expire(at(1_000), 10).await.unwrap());
        swept.retain(|id| *id != bad.id);
        assert_eq!(swept, [one.id, other.id], "{what}");
        assert_eq!(raw.number("SELECT COUNT(*) FROM {t} WHERE ended_at IS NULL").await, 0, "{what}");
        assert_eq!(store.purge(at(4_000_000), 500).await.unwrap(), 3, "{what}");
    }
}

/// The result of a sweep must be full, because fewer records than requested mean that nothing is
/// left.
async fn damaged_rows_do_not_shorten_the_result_of_a_full_sweep<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let store = lab.store(pool_of(3));
    let mut raw = lab.raw().await;
    for number in 0..6 {
        let mut session = record_at("ann", number);
        session.expires_at = at(900 + number);
        let session = create(&store, session).await;
        if number < 2 {
            damage(&mut raw, session.id, "kind = 'robot'").await;
        }
    }
    assert_eq!(store.expire(at(1_000), 3).await.unwrap().len(), 3);
    assert_eq!(store.expire(at(1_000), 3).await.unwrap().len(), 1);
    assert_eq!(raw.number("SELECT COUNT(*) FROM {t} WHERE ended_at IS NULL").await, 0);
}

fn ids(records: &[Arc<SessionRecord>]) -> Vec<SessionId> {
    let mut ids: Vec<_> = records.iter().map(|record| record.id).collect();
    ids.sort_unstable();
    ids
}
