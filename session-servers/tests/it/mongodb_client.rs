//! A MongoDB client that runs one command.

use std::net::TcpStream;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use tokio::runtime::Builder;

use crate::client::Printed;

/// The prefix of a statement that sleeps on the server for the given number of seconds. It works
/// once on each server.
pub(crate) const SLEEP: &str = "sleep ";

/// The client's timeout, which is longer than any pause of a server.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `path {command}` on a new connection, and returns the value at that path of the reply, or
/// an empty string if the reply has no such path.
pub(crate) fn run(url: &str, statement: &str) -> Printed {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = connect(url).await.map_err(|error| error.to_string())?;
        if let Some(seconds) = statement.strip_prefix(SLEEP) {
            return sleep(&database, seconds.parse().unwrap()).await.map_err(|error| error.to_string());
        }
        let (path, command) = statement.split_once(' ').unwrap();
        let command: Document = serde_json::from_str(command).unwrap();
        let reply = execute(&database, command).await.map_err(|error| error.to_string())?;
        Ok(text(&at(Bson::Document(reply), path)))
    })
}

async fn connect(url: &str) -> mongodb::error::Result<Database> {
    let mut options = ClientOptions::parse(url).await?;
    options.server_selection_timeout = Some(PATIENCE);
    // Fails at once if the server is down. A connection to a paused server succeeds.
    TcpStream::connect(options.hosts[0].to_string())?;
    Ok(Client::with_options(options)?.default_database().unwrap())
}

/// Runs a command in the database that its field `$db` names, which administrative commands
/// require.
async fn execute(database: &Database, mut command: Document) -> mongodb::error::Result<Document> {
    let Some(name) = command.remove("$db") else { return database.run_command(command).await };
    database.client().database(name.as_str().unwrap()).run_command(command).await
}

/// Waits for more documents than a capped collection has. The server counts the command in
/// `opcounters.getmore` when it begins.
async fn sleep(database: &Database, seconds: i32) -> mongodb::error::Result<String> {
    // A cursor can be used only in its session.
    let mut session = database.client().start_session().await?;
    database.run_command(doc! { "create": "asleep", "capped": true, "size": 4096 }).await?;
    database.run_command(doc! { "insert": "asleep", "documents": [{}] }).await?;
    let find = doc! { "find": "asleep", "tailable": true, "awaitData": true };
    let found = database.run_command(find).session(&mut session).await?;
    let cursor = found.get_document("cursor").unwrap().get_i64("id").unwrap();
    let more = doc! { "getMore": cursor, "collection": "asleep", "maxTimeMS": seconds * 1000 };
    database.run_command(more).session(&mut session).await?;
    Ok(String::new())
}

fn at(value: Bson, path: &str) -> Bson {
    path.split('.').fold(value, |value, step| match value {
        Bson::Document(mut document) => document.remove(step).unwrap_or(Bson::Null),
        Bson::Array(items) => items.into_iter().nth(step.parse().unwrap()).unwrap_or(Bson::Null),
        _ => Bson::Null,
    })
}

fn text(value: &Bson) -> String {
    match value {
        Bson::Double(number) => number.to_string(),
        Bson::Null => String::new(),
        Bson::String(text) => text.clone(),
        other => other.to_string(),
    }
}
