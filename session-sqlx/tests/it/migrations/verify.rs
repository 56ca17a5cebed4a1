//! The check says exactly what is missing, and changes nothing.

use session_conformance::fixtures::record;
use session_core::{ErrorKind, SessionStore};
use session_sqlx::{MigrateError, Missing, SqlStore};

use crate::support::{EmptyDatabase, Tested, on_each_database, texts};

on_each_database!(
    an_untouched_database_lacks_the_tables,
    each_column_is_missed_by_its_name,
    each_index_is_missed_by_its_name,
    each_table_is_missed_by_its_name,
    everything_that_is_missing_is_told_at_once,
    a_table_of_somebody_else_is_not_ours,
);

/// What the check misses; and that it changed nothing.
async fn missing<D: Tested>(database: &EmptyDatabase<D>, store: &SqlStore<D>) -> Vec<Missing> {
    let before = database.catalogue().await;
    let result = store.verify().await;
    assert_eq!(database.catalogue().await, before);
    told(result)
}

fn told<T>(result: Result<T, MigrateError>) -> Vec<Missing> {
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

async fn an_untouched_database_lacks_the_tables<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    let all = tables::<D>().into_iter().map(Missing::Table).collect::<Vec<_>>();
    assert_eq!(missing(&database, &store).await, all);

    let text = store.verify().await.unwrap_err().to_string();
    let what = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let next = "run `migrate`, or make it by hand as the text of `migration_sql` does";
    assert_eq!(text, format!("missing in the database: {what}; {next}"));

    let error = store.create(record("ann").into(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("`verify` says what, `migrate` makes it"), "{error}");
    assert_eq!(database.catalogue().await, [""; 0]);
}

async fn each_column_is_missed_by_its_name<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    store.migrate().await.unwrap();
    let question = D::SYNTAX.schema.columns;
    let question = question.replace("{regclass}", "'sessions'").replace("{name_text}", "'sessions'");
    let columns = texts(&database.pool, &question.replace("{schema_text}", "NULL")).await;
    assert_eq!(columns.len(), 39);
    for column in columns {
        database.script(&format!("ALTER TABLE sessions RENAME COLUMN {column} TO other")).await;
        assert_eq!(missing(&database, &store).await, [Missing::Column(format!("sessions.{column}"))]);
        assert_eq!(told(store.migrate().await), [Missing::Column(format!("sessions.{column}"))]);
        database.script(&format!("ALTER TABLE sessions RENAME COLUMN other TO {column}")).await;
        assert_eq!(missing(&database, &store).await, []);
    }
    database.script("ALTER TABLE sessions DROP COLUMN label").await;
    assert_eq!(missing(&database, &store).await, [Missing::Column("sessions.label".to_owned())]);
}

async fn each_index_is_missed_by_its_name<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    let all = ["active", "created", "deadline", "ended", "user", "username"]
        .map(|name| format!("sessions_{name}_idx"));
    for index in &all {
        store.migrate().await.unwrap();
        database.script(&D::drop_index("sessions", index)).await;
        assert_eq!(missing(&database, &store).await, [Missing::Index(index.clone())]);
        assert_eq!(told(store.migrate().await), [Missing::Index(index.clone())]);
        store.migrate_to(0).await.unwrap();
    }
    // Stops between the two steps.
    store.migrate_to(1).await.unwrap();
    assert_eq!(missing(&database, &store).await, all.map(Missing::Index));
}

async fn each_table_is_missed_by_its_name<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    store.migrate().await.unwrap();
    for table in tables::<D>() {
        database.script(&format!("ALTER TABLE {table} RENAME TO other")).await;
        assert_eq!(missing(&database, &store).await, [Missing::Table(table.clone())]);
        assert_eq!(told(store.migrate().await), [Missing::Table(table.clone())]);
        database.script(&format!("ALTER TABLE other RENAME TO {table}")).await;
        assert_eq!(missing(&database, &store).await, []);
    }
    database.script("DROP TABLE sessions").await;
    assert_eq!(missing(&database, &store).await, [Missing::Table("sessions".to_owned())]);
}

async fn everything_that_is_missing_is_told_at_once<D: Tested>(database: EmptyDatabase<D>) {
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

async fn a_table_of_somebody_else_is_not_ours<D: Tested>(database: EmptyDatabase<D>) {
    database.script("CREATE TABLE sessions (id INTEGER NOT NULL PRIMARY KEY, data VARCHAR(20))").await;
    database.script("INSERT INTO sessions VALUES (1, 'theirs')").await;
    let theirs = database.catalogue().await;
    let store = database.store("sessions");
    let lacks = |missing: Vec<Missing>| {
        let columns = missing.iter().filter(|missing| matches!(missing, Missing::Column(_)));
        assert_eq!(columns.count(), 37, "{missing:?}");
        assert!(!missing.contains(&Missing::Column("sessions.id".to_owned())), "{missing:?}");
    };
    lacks(missing(&database, &store).await);
    lacks(told(store.migrate().await));
    lacks(told(store.migrate_to(1).await));
    assert_eq!(store.migrate_to(0).await.unwrap(), []);
    assert_eq!(database.catalogue().await, theirs);
    assert_eq!(texts(&database.pool, "SELECT data FROM sessions").await, ["theirs"]);
    assert_eq!(store.load(&[record("ann").id]).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
