//! The check lists what is missing, and changes nothing.

use session_conformance::fixtures::record;
use session_core::{ErrorKind, SessionStore};
use session_sqlx::{MigrateError, Missing, SqlStore};

use crate::support::{EmptyDatabase, Tested, on_each_database, texts};

on_each_database!(
    an_empty_database_is_missing_the_tables,
    each_missing_column_is_named,
    each_missing_index_is_named,
    each_missing_table_is_named,
    all_missing_parts_are_reported_at_once,
    a_foreign_table_is_left_alone,
);

/// Returns what the check reports, and asserts that it changed nothing.
async fn missing<D: Tested>(database: &EmptyDatabase<D>, store: &SqlStore<D>) -> Vec<Missing> {
    let before = database.catalogue().await;
    let result = store.verify().await;
    assert_eq!(database.catalogue().await, before);
    reported(result)
}

fn reported<T>(result: Result<T, MigrateError>) -> Vec<Missing> {
    match result {
        Ok(_) => Vec::new(),
        Err(MigrateError::Missing(missing)) => missing,
        Err(error) => panic!("{error:?}"),
    }
}

fn tables<D: Tested>() -> Vec<String> {
    let further = D::SYNTAX.schema.further_tables.iter().map(|suffix| format!("sessions{suffix}"));
    further.chain(["sessions".to_owned()]).collect()
}

async fn an_empty_database_is_missing_the_tables<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    let all = tables::<D>().into_iter().map(Missing::Table).collect::<Vec<_>>();
    assert_eq!(missing(&database, &store).await, all);

    let text = store.verify().await.unwrap_err().to_string();
    let what = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let next = "run `migrate`, or create it manually with the SQL of `migration_sql`";
    assert_eq!(text, format!("missing in the database: {what}; {next}"));

    let error = store.create(record("ann").into(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("`verify` lists what is missing, `migrate` creates it"), "{error}");
    assert_eq!(database.catalogue().await, [""; 0]);
}

async fn each_missing_column_is_named<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    store.migrate().await.unwrap();
    let query = D::SYNTAX.schema.columns;
    let query = query.replace("{regclass}", "'sessions'").replace("{name_text}", "'sessions'");
    let columns = texts(&database.pool, &query.replace("{schema_text}", "NULL")).await;
    assert_eq!(columns.len(), 39);
    for column in columns {
        database.script(&format!("ALTER TABLE sessions RENAME COLUMN {column} TO other")).await;
        assert_eq!(missing(&database, &store).await, [Missing::Column(format!("sessions.{column}"))]);
        assert_eq!(reported(store.migrate().await), [Missing::Column(format!("sessions.{column}"))]);
        database.script(&format!("ALTER TABLE sessions RENAME COLUMN other TO {column}")).await;
        assert_eq!(missing(&database, &store).await, []);
    }
    database.script("ALTER TABLE sessions DROP COLUMN label").await;
    assert_eq!(missing(&database, &store).await, [Missing::Column("sessions.label".to_owned())]);
}

async fn each_missing_index_is_named<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    let all = ["active", "created", "deadline", "ended", "user", "username"]
        .map(|name| format!("sessions_{name}_idx"));
    for index in &all {
        store.migrate().await.unwrap();
        database.script(&D::drop_index("sessions", index)).await;
        assert_eq!(missing(&database, &store).await, [Missing::Index(index.clone())]);
        assert_eq!(reported(store.migrate().await), [Missing::Index(index.clone())]);
        store.migrate_to(0).await.unwrap();
    }
    // Stop between the two steps.
    store.migrate_to(1).await.unwrap();
    assert_eq!(missing(&database, &store).await, all.map(Missing::Index));
}

async fn each_missing_table_is_named<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    store.migrate().await.unwrap();
    for table in tables::<D>() {
        database.script(&format!("ALTER TABLE {table} RENAME TO other")).await;
        assert_eq!(missing(&database, &store).await, [Missing::Table(table.clone())]);
        assert_eq!(reported(store.migrate().await), [Missing::Table(table.clone())]);
        database.script(&format!("ALTER TABLE other RENAME TO {table}")).await;
        assert_eq!(missing(&database, &store).await, []);
    }
    database.script("DROP TABLE sessions").await;
    assert_eq!(missing(&database, &store).await, [Missing::Table("sessions".to_owned())]);
}

async fn all_missing_parts_are_reported_at_once<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    store.migrate().await.unwrap();
    database.script(&D::drop_index("sessions", "sessions_deadline_idx")).await;
    database.script(&D::drop_index("sessions", "sessions_created_idx")).await;
    for column in ["data", "geo_longitude"] {
        database.script(&format!("ALTER TABLE sessions DROP COLUMN {column}")).await;
    }
    let text = store.verify().await.unwrap_err().to_string();
    let what = "column sessions.geo_longitude, column sessions.data, \
        index sessions_created_idx, index sessions_deadline_idx; ";
    assert!(text.contains(what), "{text}");
}

async fn a_foreign_table_is_left_alone<D: Tested>(database: EmptyDatabase<D>) {
    database.script("CREATE TABLE sessions (id INTEGER NOT NULL PRIMARY KEY, data VARCHAR(20))").await;
    database.script("INSERT INTO sessions VALUES (1, 'theirs')").await;
    let theirs = database.catalogue().await;
    let store = database.store("sessions");
    let assert_missing = |missing: Vec<Missing>| {
        let columns = missing.iter().filter(|missing| matches!(missing, Missing::Column(_)));
        assert_eq!(columns.count(), 37, "{missing:?}");
        assert!(!missing.contains(&Missing::Column("sessions.id".to_owned())), "{missing:?}");
    };
    assert_missing(missing(&database, &store).await);
    assert_missing(reported(store.migrate().await));
    assert_missing(reported(store.migrate_to(1).await));
    assert_eq!(store.migrate_to(0).await.unwrap(), []);
    assert_eq!(database.catalogue().await, theirs);
    assert_eq!(texts(&database.pool, "SELECT data FROM sessions").await, ["theirs"]);
    assert_eq!(store.load(&[record("ann").id]).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
