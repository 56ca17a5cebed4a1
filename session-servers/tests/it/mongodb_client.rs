//! A client of MongoDB that runs one command.

use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use tokio::runtime::Builder;

use crate::client::Printed;

/// Sleeps for a second on the server, which notes it in the collection `asleep` before.
pub(crate) const SLEEP: &str = "sleep";

/// Longer than a server is paused.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs `path {command}` on a new connection, and returns what is at that path of the reply: nothing if it has no such path.
pub(crate) fn run(url: &str, statement: &str) -> Printed {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = connect(url).await.map_err(|error| error.to_string())?;
        if statement == SLEEP {
            return sleep(&database).await.map_err(|error| error.to_string());
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
    Ok(Client::with_options(options)?.default_database().unwrap())
}

/// In the database that the command names, as commands of an administrator must.
async fn execute(database: &Database, mut command: Document) -> mongodb::error::Result<Document> {
    let Some(name) = command.remove("$db") else { return database.run_command(command).await };
    database.client().database(name.as_str().unwrap()).run_command(command).await
}

/// A server that is asked for news of itself answers when there are some, or when the time is over.
async fn sleep(database: &Database) -> mongodb::error::Result<String> {
    let hello = database.run_command(doc! { "hello": 1 }).await?;
    database.run_command(doc! { "insert": "asleep", "documents": [{}] }).await?;
    let news = hello.get("topologyVersion").unwrap();
    database.run_command(doc! { "hello": 1, "topologyVersion": news, "maxAwaitTimeMS": 1000 }).await?;
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
