//! Rows that somebody damaged by hand.

use std::sync::Arc;

use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record_at, user};
use session_core::prelude::*;
use session_sqlx::SqlStore;

use super::calls::given;
use super::lab::{Lab, Raw, pool_of};
use super::on_each_database;
use super::target::Target;

on_each_database!(
    a_damaged_row_is_told_as_such_and_left_alone,
    a_damaged_row_ends_with_the_others,
    a_damaged_row_is_swept_with_the_others,
    a_full_sweep_is_full_without_the_damaged_rows,
);

/// What is done to a row: its name, and what is set.
fn damages<D: Target>() -> Vec<(&'static str, String)> {
    let unknown_layout = D::blob(&[&[0x63, 0][..], &[7; 36]].concat());
    let set = [
        ("a secret of a wrong length", format!("secret = {}", D::blob(&[1, 0, 5]))),
        ("a secret of an unknown layout", format!("secret = {unknown_layout}")),
        ("a refresh state that is cut off", format!("refresh = {}", D::blob(&[1]))),
        ("an unknown kind", "kind = 'robot'".to_owned()),
        ("a reason without an end", "ended_reason = 'logged_out'".to_owned()),
        ("an end without a reason", "ended_at = 1767225600124".to_owned()),
        ("an unknown reason", ended::<D>("bored", "system")),
        ("an unknown actor", ended::<D>("logged_out", "robot")),
        ("data in an ended session", ended::<D>("logged_out", "system").replace(&D::blob(&[]), "data")),
        ("a secret in an ended session", ended::<D>("logged_out", "system").replace("NULL", "secret")),
        ("a negative revision", "revision = -3".to_owned()),
        ("an end before its beginning", "expires_at = created_at - 1".to_owned()),
        ("a sighting before its beginning", "last_seen_at = created_at - 1".to_owned()),
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

/// Damages that a listing does not see, because it shows neither secrets nor data.
fn is_hidden(what: &str) -> bool {
    ["secret", "refresh", "data"].iter().any(|word| what.contains(word))
}

async fn damage<D: Target>(raw: &mut Raw<D>, id: SessionId, set: &str) {
    raw.run(&format!("UPDATE {{t}} SET {set} WHERE {}", is::<D>(id))).await;
}

fn is<D: Target>(id: SessionId) -> String {
    format!("id = {}", D::id(id.as_bytes()))
}

/// A session of nobody's version: of the random kind, as other programs make them.
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

async fn a_damaged_row_is_told_as_such_and_left_alone<D: Target>() {
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

        // To save over it may repair it, and may be refused, but it is there.
        if let Err(error) = store.update(Arc::clone(&bad), bad.revision).await {
            assert!([ErrorKind::Corrupt, ErrorKind::Ended].contains(&error.kind()), "{what}: {error:?}");
            assert_eq!(raw.content(&is::<D>(bad.id)).await, before, "{what}");
        }
        raw.run(&format!("DELETE FROM {{t}} WHERE {}", is::<D>(bad.id))).await;
    }
}

/// Statistics name the reasons, and one has no name.
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
        // It counts only if it can be read.
        let new = Arc::new(record_at("ann", 2));
        let evicted =
            store.create(Arc::clone(&new), Some(&limit(1, OnExceed::EndOldest, 500))).await.unwrap();
        let mut evicted = ids(&evicted);
        evicted.retain(|id| *id != bad.id);
        assert_eq!(evicted, [good.id], "{what}");

        let ended = store.end(&EndScope::User(user("ann")), &logged_out(600), at(600)).await.unwrap();
        let mut ended = ids(&ended);
        // One that is repaired by its end is among them.
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

/// Fewer than were asked for would mean that nothing is left.
async fn a_full_sweep_is_full_without_the_damaged_rows<D: Target>() {
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
