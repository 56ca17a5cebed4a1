//! Processes that migrate at the same moment.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::{env, io};

use session_sqlx::SqlStore;
use sqlx::{MySql, Postgres, Sqlite};

use super::use_store;
use crate::support::{EmptyDatabase, Tested, connect, on_each_database, store_on};

on_each_database!(eight_processes_at_once_all_succeed, eight_processes_at_once_share_the_remaining_steps);

/// Passes the kind and the name of the database to a process.
const CHILD: &str = "SESSION_TEST_MIGRATE";

async fn eight_processes_at_once_all_succeed<D: Tested>(database: EmptyDatabase<D>) {
    let latest = SqlStore::<D>::latest_version();
    assert_eq!(migrate_at_once(&database), (1..=latest).collect::<Vec<_>>());
    let store = database.store("sessions");
    store.verify().await.unwrap();
    assert_eq!(store.migrate().await.unwrap(), []);
    use_store(&store).await;
}

async fn eight_processes_at_once_share_the_remaining_steps<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    let latest = SqlStore::<D>::latest_version();
    for version in 1..=latest {
        store.migrate_to(version).await.unwrap();
        assert_eq!(migrate_at_once(&database), (version + 1..=latest).collect::<Vec<_>>());
        store.verify().await.unwrap();
    }
}

/// Returns the steps that eight processes took together, in order.
fn migrate_at_once<D: Tested>(database: &EmptyDatabase<D>) -> Vec<u32> {
    let mut children: Vec<_> = (0..8).map(|_| Process::start(D::SYNTAX.name, &database.name)).collect();
    for child in &mut children {
        assert_eq!(child.read_after("ready"), "");
    }
    for child in &mut children {
        child.go();
    }
    let mut steps: Vec<u32> = Vec::new();
    for mut child in children {
        steps.extend(child.read_after("steps").split_whitespace().map(|step| step.parse::<u32>().unwrap()));
        assert!(child.0.wait().unwrap().success());
    }
    steps.sort_unstable();
    steps
}

struct Process(Child);

impl Process {
    fn start(kind: &str, name: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "migrations::processes::child", "--nocapture"]);
        command.env(CHILD, format!("{kind} {name}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Reads lines until one begins with a word, and returns the rest of it.
    fn read_after(&mut self, word: &str) -> String {
        let stdout = self.0.stdout.as_mut().unwrap();
        let mut seen = String::new();
        let mut lines = BufReader::with_capacity(1, stdout).lines();
        loop {
            let Some(line) = lines.next() else { panic!("a process ended without `{word}`:\n{seen}") };
            let line = line.unwrap();
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
            seen += &format!("{line}\n");
        }
    }

    fn go(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One of the processes. Does nothing when it runs as a test.
#[tokio::test]
async fn child() {
    let Ok(task) = env::var(CHILD) else { return };
    let (kind, name) = task.split_once(' ').unwrap();
    match kind {
        "postgres" => migrate_on_signal::<Postgres>(name).await,
        "mysql" => migrate_on_signal::<MySql>(name).await,
        "sqlite" => migrate_on_signal::<Sqlite>(name).await,
        _ => panic!("{kind}"),
    }
}

async fn migrate_on_signal<D: Tested>(name: &str) {
    let store = store_on(&connect::<D>(name).await, "sessions");
    println!("\nready");
    io::stdin().lines().next().unwrap().unwrap();
    let steps = store.migrate().await.unwrap();
    let steps: Vec<_> = steps.iter().map(|step| step.version.to_string()).collect();
    println!("steps {}", steps.join(" "));
}
