//! PostgreSQL through another driver, which pipelines statements.

use std::hint::black_box;
use std::sync::Arc;

use tokio_postgres::types::FromSql;
use tokio_postgres::{Client, NoTls, Row, Statement};
use uuid::Uuid;

use super::store::SqlScene;
use crate::stored::TASKS;

/// The floor's connections, which share the pipelined statements.
const CONNECTIONS: usize = 8;

/// A function that reads a column.
type Read = fn(&Row, usize);

/// The columns that a load reads, by type.
const COLUMNS: &[(&str, Read)] = &[
    ("id, device_id", get::<Uuid>),
    (
        "user_id, kind, username, auth, ip_address, user_agent, device_kind, device_brand, device_model, os, os_version, \
         browser, browser_version, geo_country_code, geo_country, geo_region, geo_city, label, last_ip_address, \
         last_country_code, ended_reason, ended_by",
        |row, column| _ = black_box(row.get::<_, Option<&str>>(column)),
    ),
    (
        "created_at, revision, authenticated_at, last_seen_at, expires_at, idle_timeout, credential_version, ended_at",
        get::<i64>,
    ),
    ("secret, refresh, data", |row, column| _ = black_box(row.get::<_, Option<&[u8]>>(column))),
    ("geo_latitude, geo_longitude", get::<f64>),
    ("remembered", get::<bool>),
];

fn get<T: for<'a> FromSql<'a>>(row: &Row, column: usize) {
    _ = black_box(row.get::<_, Option<T>>(column));
}

fn select() -> String {
    let names: Vec<_> = COLUMNS.iter().map(|(names, _)| *names).collect();
    format!("SELECT {} FROM sessions WHERE id = $1", names.join(", "))
}

/// Reads each value of a row, as handwritten code does. Copies and checks nothing.
fn read(row: &Row) {
    let readers = COLUMNS.iter().flat_map(|(names, read)| names.split(',').map(move |_| read));
    readers.enumerate().for_each(|(column, read)| read(row, column));
}

/// Prepared statements of tokio-postgres.
#[derive(Debug)]
pub struct PipelinedFloor {
    clients: Vec<(Arc<Client>, Statement)>,
}

impl PipelinedFloor {
    /// Connects to the scene's server.
    ///
    /// # Panics
    /// If the connection fails.
    #[must_use]
    pub fn new(scene: &SqlScene<sqlx::Postgres>) -> Self {
        let options = scene.pool.connect_options();
        let mut config = tokio_postgres::Config::new();
        config.host(options.get_host()).port(options.get_port()).user("postgres").dbname("postgres");
        let connect = async || {
            let (client, connection) = config.connect(NoTls).await.expect("a connection");
            tokio::spawn(connection);
            let statement = client.prepare(&select()).await.expect("a statement");
            (Arc::new(client), statement)
        };
        let clients = scene.block_on(async {
            let mut clients = Vec::new();
            for _ in 0..CONNECTIONS {
                clients.push(connect().await);
            }
            clients
        });
        Self { clients }
    }

    /// Loads rows, one at a time.
    pub fn load(&self, scene: &SqlScene<sqlx::Postgres>, times: u32) {
        let (client, statement) = &self.clients[0];
        scene.run(times, async |record, _| {
            let id = Uuid::from_bytes(*record.id.as_bytes());
            read(&client.query_one(statement, &[&id]).await.expect("a row"));
        });
    }

    /// Loads rows in 64 tasks at once.
    pub fn load_at_once(&self, scene: &SqlScene<sqlx::Postgres>, ids: &Arc<Vec<Uuid>>, times: u32) {
        scene.block_on(async {
            let tasks = (0..TASKS).map(|task| {
                let (client, statement) = self.clients[task as usize % CONNECTIONS].clone();
                let ids = Arc::clone(ids);
                tokio::spawn(async move {
                    for step in 0..times / TASKS {
                        let id = ids[(step * TASKS + task) as usize * 7_919 % ids.len()];
                        read(&client.query_one(&statement, &[&id]).await.expect("a row"));
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.expect("a task that ends");
            }
        });
    }
}
