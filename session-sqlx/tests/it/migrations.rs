//! Migrations up and down on every database, also when they are interrupted or run concurrently.

mod interrupted;
mod processes;
mod steps;
mod upgrade;
mod verify;

use session_conformance::fixtures::{at, full, logged_out};
use session_core::{EndScope, ListQuery, SessionStore, Timestamp};
use session_sqlx::{SqlStore, Step};

use crate::support::Tested;

/// Returns the versions and directions of steps.
fn taken(steps: &[Step]) -> Vec<(u32, bool)> {
    steps.iter().map(|step| (step.version, step.is_up)).collect()
}

/// Returns the steps up from one version to another.
fn up(from: u32, to: u32) -> Vec<(u32, bool)> {
    (from + 1..=to).map(|version| (version, true)).collect()
}

/// Returns the steps down from one version to another.
fn down(from: u32, to: u32) -> Vec<(u32, bool)> {
    (to + 1..=from).rev().map(|version| (version, false)).collect()
}

/// Uses a store for the whole life of a session.
async fn use_store<D: Tested>(store: &SqlStore<D>) {
    let record = full("ann");
    let (id, user) = (record.id, record.user_id.clone().unwrap());
    store.create(record.clone().into(), None).await.unwrap();
    assert_eq!(*store.load(&[id]).await.unwrap()[0], record);
    let listed = store.list(&ListQuery::default().with_user(user.clone())).await.unwrap().records;
    assert_eq!(listed.len(), 1);
    assert_eq!(store.end(&EndScope::id(id), &logged_out(1), Timestamp::MAX).await.unwrap().len(), 1);
    assert_eq!(store.erase(&user, 10).await.unwrap(), 1);
    assert_eq!(store.purge(at(2), 10).await.unwrap(), 1);
    assert_eq!(store.load(&[id]).await.unwrap(), []);
}
