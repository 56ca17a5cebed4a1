//! A table that is dropped or altered while a store uses it.

use std::sync::Arc;

use session_core::{ErrorKind, SessionStore};
use session_sqlx::SqlStore;

use super::calls::{CALLS, assert_fails, assert_works, call, given, within};
use super::lab::{Lab, pool_of};
use super::target::Target;
use super::{LONG_DEADLINE, on_each_database, on_each_server};

on_each_database!(a_missing_table_or_column_names_the_remedy);

/// Some applications discard the session state of a connection when it returns to the pool, so that
/// no caller inherits the settings of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_discard_prepared_statements_work() {
    let Some(lab) = Lab::<sqlx::Postgres>::start().await else { return };
    let store = lab.store(pool_of(2).after_release(|connection, _| {
        Box::pin(async move { sqlx::raw_sql("DISCARD ALL").execute(connection).await.map(|_| true) })
    }));
    for _ in 0..5 {
        assert_works(&store).await;
    }
}

mod altered {
    super::on_each_server!(an_altered_column_can_still_be_read);

    use super::an_altered_column_can_still_be_read;
}

async fn a_missing_table_or_column_names_the_remedy<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let store = lab.store(pool_of(3));
    assert_works(&store).await;
    let session = given(&store, "dora").await;
    let mut other = lab.raw().await;

    other.run("ALTER TABLE {t} RENAME COLUMN label TO name").await;
    assert_all_name_the_remedy(&store, &session, &["touch", "end", "purge", "stats", "expire"]).await;
    other.run("ALTER TABLE {t} RENAME COLUMN name TO label").await;
    assert_works(&store).await;

    other.run("ALTER TABLE {t} RENAME TO elsewhere").await;
    assert_all_name_the_remedy(&store, &session, &[]).await;
    assert!(store.verify().await.is_err());
    other.run("ALTER TABLE elsewhere RENAME TO {t}").await;
    assert_works(&store).await;
    store.verify().await.unwrap();
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
}

/// Asserts that every call fails and names the remedy, except those that may not need the column.
async fn assert_all_name_the_remedy<D: Target>(
    store: &SqlStore<D>,
    session: &Arc<session_core::SessionRecord>,
    may_work: &[&str],
) {
    for name in CALLS {
        let result = within(LONG_DEADLINE, name, call(store, name, session)).await;
        if result.is_ok() && may_work.contains(&name) {
            continue;
        }
        let error = assert_fails(name, ErrorKind::Unavailable, result);
        let text = error.to_string();
        assert!(text.contains("`verify`") && text.contains("`migrate`"), "{text}");
    }
}

/// A later version's migration may do this while this version still runs. The connections know the
/// old type from their prepared statements.
async fn an_altered_column_can_still_be_read<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let store = lab.store(pool_of(3));
    store.connect().await.unwrap();
    for _ in 0..3 {
        assert_works(&store).await;
    }
    let session = given(&store, "dora").await;
    lab.raw().await.run(D::WIDEN_LABEL).await;
    for _ in 0..4 {
        assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
    }
    assert_eq!(call(&store, "end", &session).await.map_err(|error| error.to_string()), Ok(()));
    assert_works(&store).await;
}
