//! Steps up and down, and other content of the database.

use session_conformance::fixtures::record;
use session_core::SessionStore;
use session_sqlx::{MigrateError, SqlStore};

use super::{down, taken, up, use_store};
use crate::support::{EmptyDatabase, Tested, on_each_database, script, store_on, texts};

on_each_database!(
    an_empty_database_gets_the_schema_once,
    a_schema_of_its_own_holds_everything,
    other_tables_and_stores_are_left_alone,
    version_0_is_an_empty_schema,
    each_step_can_be_reverted_and_repeated,
    unknown_versions_are_refused,
    a_schema_of_a_later_program_is_refused,
    migration_sql_creates_the_same_schema,
);

async fn an_empty_database_gets_the_schema_once<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    let latest = SqlStore::<D>::latest_version();
    assert_eq!(taken(&store.migrate().await.unwrap()), up(0, latest));
    let schema = database.catalogue().await;
    assert_eq!(store.migrate().await.unwrap(), []);
    assert_eq!(database.store("sessions").migrate().await.unwrap(), []);
    assert_eq!(database.catalogue().await, schema);
    store.verify().await.unwrap();
    use_store(&store).await;
}

async fn a_schema_of_its_own_holds_everything<D: Tested>(database: EmptyDatabase<D>) {
    let (pool, schema) = D::with_schema(&database.name).await;
    let store = store_on(&pool, &format!("{schema}.web_sessions"));
    let outside = database.catalogue().await;
    store.migrate().await.unwrap();
    use_store(&store).await;
    let latest = SqlStore::<D>::latest_version();
    assert_eq!(taken(&store.migrate_to(0).await.unwrap()), down(latest, 0));
    store.migrate().await.unwrap();
    // The catalogue of PostgreSQL lists all schemas.
    let table = format!("{schema}.web_sessions");
    let leaked = |line: &String| !line.contains(&table) && !outside.contains(line);
    assert_eq!(database.catalogue().await.into_iter().filter(leaked).collect::<Vec<_>>(), [""; 0]);
}

async fn other_tables_and_stores_are_left_alone<D: Tested>(database: EmptyDatabase<D>) {
    let others = [
        "CREATE TABLE users (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(20))",
        "CREATE INDEX users_name ON users (name)",
        "CREATE TABLE sessions_archive (id INTEGER NOT NULL PRIMARY KEY)",
        "INSERT INTO users VALUES (1, 'ann')",
        "INSERT INTO sessions_archive VALUES (7)",
    ];
    database.script(&others.join(";")).await;
    let before = database.catalogue().await;
    let (store, admins) = (database.store("sessions"), database.store("admin_sessions"));
    store.migrate().await.unwrap();
    let with_one = database.catalogue().await;
    admins.migrate().await.unwrap();
    admins.create(record("ann").into(), None).await.unwrap();
    store.verify().await.unwrap();
    admins.migrate_to(0).await.unwrap();
    assert_eq!(database.catalogue().await, with_one);
    store.migrate_to(0).await.unwrap();
    assert_eq!(database.catalogue().await, before);
    assert_eq!(texts(&database.pool, "SELECT name FROM users").await, ["ann"]);
}

async fn version_0_is_an_empty_schema<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    assert_eq!(store.migrate_to(0).await.unwrap(), []);
    assert_eq!(database.catalogue().await, [""; 0]);
    store.migrate().await.unwrap();
    use_store(&store).await;
    let latest = SqlStore::<D>::latest_version();
    assert_eq!(taken(&store.migrate_to(0).await.unwrap()), down(latest, 0));
    assert_eq!(database.catalogue().await, [""; 0]);
    assert_eq!(taken(&store.migrate().await.unwrap()), up(0, latest));
    use_store(&store).await;
}

async fn each_step_can_be_reverted_and_repeated<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    let latest = SqlStore::<D>::latest_version();
    let mut schemas = vec![database.catalogue().await];
    for version in 1..=latest {
        assert_eq!(taken(&store.migrate_to(version).await.unwrap()), up(version - 1, version));
        schemas.push(database.catalogue().await);
    }
    for version in (0..latest).rev() {
        assert_eq!(taken(&store.migrate_to(version).await.unwrap()), down(version + 1, version));
        assert_eq!(database.catalogue().await, schemas[version as usize], "back to {version}");
    }
    for version in 1..=latest {
        store.migrate_to(version).await.unwrap();
        assert_eq!(database.catalogue().await, schemas[version as usize], "again to {version}");
    }
    store.verify().await.unwrap();
    use_store(&store).await;
}

async fn unknown_versions_are_refused<D: Tested>(database: EmptyDatabase<D>) {
    let known = SqlStore::<D>::latest_version();
    let error = database.store("sessions").migrate_to(99).await.unwrap_err();
    assert!(matches!(error, MigrateError::NoSuchVersion { asked: 99, known: latest } if latest == known));
    assert_eq!(error.to_string(), format!("there is no version 99 of the schema; the latest is {known}"));
    assert_eq!(database.catalogue().await, [""; 0]);
}

async fn a_schema_of_a_later_program_is_refused<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    store.migrate().await.unwrap();
    database.script("INSERT INTO sessions_migrations (version, name) VALUES (99, '0099_later')").await;
    let schema = database.catalogue().await;
    let known = SqlStore::<D>::latest_version();
    for version in 0..=known {
        let error = store.migrate_to(version).await.unwrap_err();
        assert!(
            matches!(error, MigrateError::Newer { found: 99, known: latest } if latest == known),
            "{error:?}"
        );
    }
    let error = store.migrate().await.unwrap_err().to_string();
    assert!(error.contains("version 99") && error.contains("older than the schema"), "{error}");
    assert_eq!(database.catalogue().await, schema);
}

async fn migration_sql_creates_the_same_schema<D: Tested>(database: EmptyDatabase<D>) {
    database.store("sessions").migrate().await.unwrap();
    let expected = database.catalogue().await;
    database.store("sessions").migrate_to(0).await.unwrap();

    database.script(&SqlStore::<D>::migration_sql(&"sessions".parse().unwrap())).await;
    assert_eq!(database.catalogue().await, expected);
    let store = database.store("sessions");
    store.verify().await.unwrap();
    assert_eq!(store.migrate().await.unwrap(), []);
    use_store(&store).await;

    let (pool, schema) = D::with_schema(&database.name).await;
    let table = format!("{schema}.web_sessions");
    let text = SqlStore::<D>::migration_sql(&table.parse().unwrap());
    script(&pool, &text).await.unwrap();
    let store = store_on(&pool, &table);
    store.verify().await.unwrap();
    assert_eq!(store.migrate().await.unwrap(), []);
    use_store(&store).await;
}
