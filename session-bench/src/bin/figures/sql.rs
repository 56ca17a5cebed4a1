//! The SQL stores, compared with raw prepared statements. Most figures run client and server on one
//! core.

use std::sync::Arc;

use session_bench::sql::{self, PipelinedFloor, RawFloor, Sweep};
use session_bench::{Figure, alternate, on_one_core};
use session_manager::{NewSession, SessionManager};
use sqlx::Connection;
use uuid::Uuid;

use crate::Measure;

/// The number of operations in a round of writes.
const ROUND: u32 = 200;

pub(crate) const FIGURES: &[(&str, Measure)] = &[
    ("postgres_load", postgres_load),
    ("postgres_load_64_at_once", postgres_load_64_at_once),
    ("postgres_validate_64_tasks", postgres_validate_64_tasks),
    ("postgres_create", postgres_create),
    ("postgres_save", postgres_save),
    ("postgres_touch", postgres_touch),
    ("postgres_list", postgres_list),
    ("postgres_sign_in_p99_during_sweep", postgres_sweep),
    ("postgres_end_10000", postgres_end_10000),
    ("mysql_load", mysql_load),
    ("mysql_create", mysql_create),
    ("mysql_save", mysql_save),
    ("mysql_touch", mysql_touch),
    ("mysql_list", mysql_list),
    ("sqlite_load", sqlite_load),
    ("sqlite_create", sqlite_create),
    ("sqlite_save", sqlite_save),
    ("sqlite_touch", sqlite_touch),
    ("sqlite_list", sqlite_list),
];

/// Defines a figure of an operation, compared with the raw statement on the same pool.
macro_rules! beside_the_pool {
    ($name:ident, $scene:expr, $numbered:literal, $ours:ident, $raw:ident, $bar:expr) => {
        fn $name() -> Figure {
            on_one_core(|| {
                let (scene, floor) = ($scene, RawFloor::new($numbered));
                let times = alternate(ROUND, |times| scene.$ours(times), |times| scene.$raw(&floor, times));
                Figure::ratio(stringify!($name), times, $bar)
            })
        }
    };
}

/// Defines a figure of an operation whose floor needs a persistent connection, as the store has
/// one.
macro_rules! beside_a_connection {
    ($name:ident, $scene:expr, $connection:ty, $numbered:literal, $ours:ident, $raw:ident, $round:expr, $bar:expr) => {
        fn $name() -> Figure {
            on_one_core(|| {
                let (scene, floor) = ($scene, RawFloor::new($numbered));
                let options = scene.pool().connect_options();
                let mut connection =
                    scene.block_on(<$connection>::connect_with(&options)).expect("a connection");
                let raw = |times| scene.$raw(&floor, &mut connection, times);
                Figure::ratio(stringify!($name), alternate($round, |times| scene.$ours(times), raw), $bar)
            })
        }
    };
}

beside_the_pool!(postgres_create, sql::postgres(1), true, create, raw_create, 1.25);
beside_the_pool!(postgres_touch, sql::postgres(1), true, touch, raw_touch, 1.25);
beside_the_pool!(postgres_list, sql::postgres(1), true, list, raw_list, 1.25);
beside_the_pool!(mysql_create, sql::mysql(1), false, create, raw_create, 1.25);
beside_the_pool!(mysql_touch, sql::mysql(1), false, touch, raw_touch, 1.25);
beside_the_pool!(mysql_list, sql::mysql(1), false, list, raw_list, 1.25);
beside_the_pool!(sqlite_create, sql::sqlite(1), false, create, raw_create, 1.25);
beside_the_pool!(sqlite_touch, sql::sqlite(1), false, touch, raw_touch, 1.25);
// SQLite runs in process, so no round trip hides the copying of ten sessions.
beside_the_pool!(sqlite_list, sql::sqlite(1), false, list, raw_list, 2.0);
beside_a_connection!(postgres_save, sql::postgres(1), sqlx::PgConnection, true, save, raw_save, ROUND, 1.25);
beside_a_connection!(mysql_load, sql::mysql(1), sqlx::MySqlConnection, false, load, raw_load, 1_000, 1.2);
beside_a_connection!(mysql_save, sql::mysql(1), sqlx::MySqlConnection, false, save, raw_save, ROUND, 1.25);
beside_a_connection!(sqlite_load, sql::sqlite(1), sqlx::SqliteConnection, false, load, raw_load, 1_000, 1.2);
beside_a_connection!(sqlite_save, sql::sqlite(1), sqlx::SqliteConnection, false, save, raw_save, ROUND, 1.25);

/// Compares loads with the prepared statement of another driver.
fn postgres_load() -> Figure {
    on_one_core(|| {
        let scene = sql::postgres(1);
        let floor = PipelinedFloor::new(&scene);
        let times = alternate(1_000, |times| scene.load(times), |times| floor.load(&scene, times));
        Figure::ratio("postgres_load", times, 1.15)
    })
}

/// Batched loads for 64 tasks, compared with pipelined statements of another driver.
fn postgres_load_64_at_once() -> Figure {
    let scene = sql::postgres(2);
    let floor = PipelinedFloor::new(&scene);
    let ids = scene.records().iter().map(|record| Uuid::from_bytes(*record.id.as_bytes())).collect();
    let ids = Arc::new(ids);
    let times = alternate(
        20_000,
        |times| scene.load_gathered(times),
        |times| floor.load_at_once(&scene, &ids, times),
    );
    Figure::ratio("postgres_load_64_at_once", times, 0.5)
}

/// Complete validations, whose loads the manager batches, compared with pipelined statements of
/// another driver.
fn postgres_validate_64_tasks() -> Figure {
    let scene = sql::postgres(2);
    let floor = PipelinedFloor::new(&scene);
    let (manager, tokens, ids) = scene.block_on(async {
        let manager = SessionManager::builder(Arc::clone(scene.store())).build().expect("a manager");
        let (mut tokens, mut ids) = (Vec::new(), Vec::new());
        for user in 0..1_000_u64 {
            let new = NewSession::for_user(user.into()).with_username("jane.doe");
            let created = manager.create(new).await.expect("a session");
            tokens.push(created.token.expose().to_string());
            ids.push(Uuid::from_bytes(*created.session.id().as_bytes()));
        }
        (manager, Arc::new(tokens), Arc::new(ids))
    });
    let times = alternate(
        20_000,
        |times| scene.validate_at_once(&manager, &tokens, times),
        |times| floor.load_at_once(&scene, &ids, times),
    );
    Figure::ratio("postgres_validate_64_tasks", times, 0.8)
}

/// The 99th percentile of sign-ins while a million expired sessions are swept in batches, compared
/// with sign-ins while one statement ends them all. On two cores, the batches keep one more process
/// busy than the statement does, so a scheduler slice, 4 ms, shows in the measured time.
fn postgres_sweep() -> Figure {
    let during = |sweep| sql::sign_in_p99(&sql::postgres(2), 1_000_000, sweep).as_secs_f64() * 1e9;
    let times = (during(Sweep::Batches), during(Sweep::OneStatement));
    Figure::ratio("postgres_sign_in_p99_during_sweep", times, 10.0)
}

/// Ending ten thousand sessions of one user in batches, compared with one statement that locks them
/// all.
fn postgres_end_10000() -> Figure {
    on_one_core(|| {
        let (ours, raw) = sql::end_many(&sql::postgres(1), 10_000);
        let times = (ours.as_secs_f64() * 1e5, raw.as_secs_f64() * 1e5);
        Figure::ratio("postgres_end_10000", times, 3.0)
    })
}
