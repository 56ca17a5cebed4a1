//! The raw statements: handwritten sqlx code, on the same pool.

use std::hint::black_box;

use session_conformance::fixtures;
use session_core::{DeviceId, RefreshState, SecretState, SessionRecord, UserId};
use sqlx::{AssertSqlSafe, Row, SqlSafeStr, SqlStr};

use super::store::SqlScene;
use crate::stored::{TOUCHES, new, saved, user_of};

const COLUMNS: &str = "id, user_id, kind, created_at, revision, authenticated_at, last_seen_at, expires_at, username, \
    idle_timeout, remembered, credential_version, secret, refresh, auth, ip_address, user_agent, device_kind, \
    device_brand, device_model, os, os_version, browser, browser_version, geo_country_code, geo_country, geo_region, \
    geo_city, geo_latitude, geo_longitude, device_id, label, data, last_ip_address, last_country_code, ended_reason, \
    ended_at, ended_by";

/// The number of columns that the handwritten insert fills.
const INSERTED: usize = 35;

/// The type as which a column is read.
#[derive(Debug, Clone, Copy)]
enum Read {
    Bytes,
    Flag,
    Int,
    Nothing,
    Real,
}

impl Read {
    fn of(column: &str) -> Self {
        match column {
            "id" | "device_id" => Self::Nothing,
            "remembered" => Self::Flag,
            "revision" | "idle_timeout" | "credential_version" => Self::Int,
            _ if column.ends_with("_at") => Self::Int,
            _ if column.starts_with("geo_l") => Self::Real,
            _ => Self::Bytes,
        }
    }
}

/// The raw statements of one database.
#[derive(Debug)]
pub struct RawFloor {
    reads: Vec<Read>,
    load: SqlStr,
    insert: SqlStr,
    save: SqlStr,
    touch: SqlStr,
    list: SqlStr,
}

impl RawFloor {
    /// Builds the statements. PostgreSQL needs numbered placeholders.
    #[must_use]
    pub fn new(numbered: bool) -> Self {
        let names: Vec<_> = COLUMNS.split(", ").map(str::trim).take(INSERTED).collect();
        let values = vec!["?"; INSERTED].join(", ");
        let set = names[5..].iter().map(|name| format!("{name} = ?")).collect::<Vec<_>>().join(", ");
        let sql = |text: String| {
            let text = if numbered { number(&text) } else { text };
            AssertSqlSafe(std::sync::Arc::<str>::from(text)).into_sql_str()
        };
        Self {
            reads: COLUMNS.split(", ").map(|name| Read::of(name.trim())).collect(),
            load: sql(format!("SELECT {COLUMNS} FROM sessions WHERE id = ?")),
            insert: sql(format!("INSERT INTO sessions ({}) VALUES ({values})", names.join(", "))),
            save: sql(format!("UPDATE sessions SET {set}, revision = revision + 1 WHERE id = ?")),
            touch: sql("UPDATE sessions SET last_seen_at = ? WHERE id = ?".to_owned()),
            list: sql(format!(
                "SELECT {COLUMNS} FROM sessions WHERE user_id = ? AND ended_at IS NULL AND deadline_at > ? \
                 ORDER BY created_at DESC, id DESC LIMIT 101"
            )),
        }
    }
}

fn number(text: &str) -> String {
    let mut parts = text.split('?');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.enumerate().fold(first, |text, (index, part)| format!("{text}${}{part}", index + 1))
}

/// Binds the last thirty columns of an insert, which are also those that a save sets.
macro_rules! bind_saved {
    ($query:expr, $record:expr, $uuid:expr) => {{
        let record: &SessionRecord = $record;
        let client = &record.client;
        $query
            .bind(record.authenticated_at.as_millis())
            .bind(record.last_seen_at.as_millis())
            .bind(record.expires_at.as_millis())
            .bind(record.username.clone())
            .bind(record.idle_timeout.map(|idle| i64::try_from(idle.as_millis()).unwrap_or(0)))
            .bind(record.remembered)
            .bind(record.credential_version.map(u64::cast_signed))
            .bind(record.secret.as_ref().map(SecretState::to_bytes))
            .bind(record.refresh.as_ref().map(RefreshState::to_bytes))
            .bind(serde_json::to_string(&record.auth).ok())
            .bind(client.ip.map(|ip| ip.to_string()))
            .bind(client.user_agent.clone())
            .bind(client.device.kind.map(|kind| kind.as_str()))
            .bind(client.device.brand.clone())
            .bind(client.device.model.clone())
            .bind(client.device.os.clone())
            .bind(client.device.os_version.clone())
            .bind(client.device.browser.clone())
            .bind(client.device.browser_version.clone())
            .bind(client.geo.country_code.clone())
            .bind(client.geo.country.clone())
            .bind(client.geo.region.clone())
            .bind(client.geo.city.clone())
            .bind(client.geo.coordinates.map(|(latitude, _)| latitude))
            .bind(client.geo.coordinates.map(|(_, longitude)| longitude))
            .bind(record.device_id.as_ref().map(DeviceId::as_bytes).map($uuid))
            .bind(record.label.clone())
            .bind(record.data.to_vec())
            .bind(record.last_client.ip.map(|ip| ip.to_string()))
            .bind(record.last_client.country_code.as_deref().map(str::to_owned))
    }};
}

/// Reads each value of a row, as handwritten code does. Copies and checks nothing.
trait ReadRow {
    fn read(&self, reads: &[Read]);
}

/// Defines the handwritten operations for one driver. They cannot be generic over the drivers'
/// types.
macro_rules! floors {
    ($database:ty, $row:ty, $uuid:expr) => {
        impl ReadRow for $row {
            fn read(&self, reads: &[Read]) {
                for (column, read) in reads.iter().enumerate() {
                    match read {
                        Read::Bytes => _ = black_box(self.get_unchecked::<Option<&[u8]>, _>(column)),
                        Read::Flag => _ = black_box(self.get_unchecked::<bool, _>(column)),
                        Read::Int => _ = black_box(self.get_unchecked::<Option<i64>, _>(column)),
                        Read::Nothing => {}
                        Read::Real => _ = black_box(self.get_unchecked::<Option<f64>, _>(column)),
                    }
                }
            }
        }

        impl SqlScene<$database> {
            /// Loads rows on one persistent connection.
            pub fn raw_load(
                &self,
                floor: &RawFloor,
                connection: &mut <$database as sqlx::Database>::Connection,
                times: u32,
            ) {
                self.run(times, async |record, _| {
                    let query =
                        sqlx::query::<$database>(floor.load.clone()).bind($uuid(record.id.as_bytes()));
                    query.fetch_one(&mut *connection).await.expect("a row").read(&floor.reads);
                });
            }

            /// Inserts rows.
            pub fn raw_create(&self, floor: &RawFloor, times: u32) {
                self.run(times, async |_, step| {
                    let record = new(step);
                    let query = sqlx::query::<$database>(floor.insert.clone())
                        .bind($uuid(record.id.as_bytes()))
                        .bind(record.user_id.as_ref().map(UserId::as_str).map(str::to_owned))
                        .bind(record.kind.as_str())
                        .bind(record.created_at.as_millis())
                        .bind(1_i64);
                    bind_saved!(query, &record, $uuid).execute(&self.pool).await.expect("an insert");
                });
            }

            /// Loads a row and replaces it.
            pub fn raw_save(
                &self,
                floor: &RawFloor,
                connection: &mut <$database as sqlx::Database>::Connection,
                times: u32,
            ) {
                self.run(times, async |record, step| {
                    let query =
                        sqlx::query::<$database>(floor.load.clone()).bind($uuid(record.id.as_bytes()));
                    query.fetch_one(&mut *connection).await.expect("a row").read(&floor.reads);
                    let record = saved(record, step);
                    let query = sqlx::query::<$database>(floor.save.clone());
                    bind_saved!(query, &record, $uuid)
                        .bind($uuid(record.id.as_bytes()))
                        .execute(&self.pool)
                        .await
                        .expect("a row");
                });
            }

            /// Sets the last-seen time of a hundred rows, in one transaction.
            pub fn raw_touch(&self, floor: &RawFloor, times: u32) {
                self.block_on(async {
                    for _ in 0..times / TOUCHES {
                        let mut transaction = self.pool.begin().await.expect("a transaction");
                        for (record, at) in self.touches() {
                            sqlx::query::<$database>(floor.touch.clone())
                                .bind(at.as_millis())
                                .bind($uuid(record.id.as_bytes()))
                                .execute(&mut *transaction)
                                .await
                                .expect("a row");
                        }
                        transaction.commit().await.expect("a commit");
                    }
                });
            }

            /// Lists rows of users.
            pub fn raw_list(&self, floor: &RawFloor, times: u32) {
                self.run(times, async |record, _| {
                    let query = sqlx::query::<$database>(floor.list.clone())
                        .bind(user_of(record).as_str().to_owned())
                        .bind(fixtures::at(20).as_millis());
                    query
                        .fetch_all(&self.pool)
                        .await
                        .expect("rows")
                        .iter()
                        .for_each(|row| row.read(&floor.reads));
                });
            }
        }
    };
}

floors!(sqlx::Postgres, sqlx::postgres::PgRow, |bytes: &[u8; 16]| uuid::Uuid::from_bytes(*bytes));
floors!(sqlx::MySql, sqlx::mysql::MySqlRow, |bytes: &[u8; 16]| bytes.to_vec());
floors!(sqlx::Sqlite, sqlx::sqlite::SqliteRow, |bytes: &[u8; 16]| bytes.to_vec());
