//! The commands of a call, as the server sees them.

use std::sync::Arc;

use parking_lot::Mutex;
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record, record_at, touch, user};
use session_core::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::calls::assert_works;
use super::lab::{Lab, Raw, wait_until};

/// All commands that clients send, without the commands of scripts and the pings of connections.
struct Monitor {
    lines: Arc<Mutex<Vec<String>>>,
    raw: Raw,
    marks: u32,
}

impl Monitor {
    async fn of(lab: &Lab) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", lab.port())).await.unwrap();
        stream.write_all(b"MONITOR\r\n").await.unwrap();
        let mut reader = BufReader::new(stream).lines();
        assert_eq!(reader.next_line().await.unwrap().unwrap(), "+OK");
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok(Some(line)) = reader.next_line().await {
                seen.lock().push(line);
            }
        });
        Self { lines, raw: lab.raw().await, marks: 0 }
    }

    /// Returns the names of the commands since the last call.
    async fn sent(&mut self) -> Vec<String> {
        self.marks += 1;
        let mark = format!("\"mark-{}\"", self.marks);
        self.raw.run(&format!("ECHO mark-{}", self.marks)).await;
        wait_until("the mark is seen", async || self.lines.lock().iter().any(|line| line.contains(&mark)))
            .await;
        let lines = std::mem::take(&mut *self.lines.lock());
        let outer = lines.iter().filter(|line| !line.contains(" lua] ") && !line.contains("\"mark-"));
        let names = outer.filter_map(|line| line.split('"').nth(1).map(str::to_owned));
        names.filter(|name| !["PING", "HELLO", "CLIENT", "INFO"].contains(&name.as_str())).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_of_the_request_path_is_one_command() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    assert_works(&store).await;
    let mut monitor = Monitor::of(&lab).await;
    monitor.sent().await;

    let session = Arc::new(full("dora"));
    store.create(Arc::clone(&session), None).await.unwrap();
    assert_eq!(monitor.sent().await, ["EVALSHA"], "create");
    let mut touches = Vec::new();
    for number in 1..5 {
        let new = Arc::new(record_at("dora", number));
        touches.push(touch(new.id, 9));
        store.create(new, Some(&limit(3, OnExceed::EndOldest, 5))).await.unwrap();
        assert_eq!(monitor.sent().await, ["EVALSHA"], "create under a limit");
    }
    store.load(&[session.id]).await.unwrap();
    assert_eq!(monitor.sent().await, ["GET"], "load");
    store.load(&[record("absent").id]).await.unwrap();
    assert_eq!(monitor.sent().await, ["GET"], "load of an absent session");
    store.load(&[session.id, touches[3].id, record("absent").id]).await.unwrap();
    assert_eq!(monitor.sent().await, ["GET", "GET", "GET"], "load of several, in one packet");
    store.touch(&touches, NOW).await.unwrap();
    assert_eq!(monitor.sent().await, ["EVALSHA"], "touch of several");
    let last = store.load(&[touches[3].id]).await.unwrap().remove(0);
    monitor.sent().await;
    store.update(Arc::clone(&last), last.revision).await.unwrap();
    assert_eq!(monitor.sent().await, ["EVALSHA"], "update");
    store.update(Arc::clone(&last), last.revision).await.unwrap_err();
    assert_eq!(monitor.sent().await, ["EVALSHA"], "update that conflicts");
    assert_eq!(store.end(&EndScope::id(last.id), &logged_out(10), Timestamp::MAX).await.unwrap().len(), 1);
    assert_eq!(monitor.sent().await, ["EVALSHA"], "end of one");
    assert_eq!(
        store.end(&EndScope::User(user("dora")), &logged_out(10), Timestamp::MAX).await.unwrap().len(),
        2
    );
    assert_eq!(monitor.sent().await, ["EVALSHA"], "end of a user");
    store.list(&ListQuery::default().with_user(user("dora"))).await.unwrap();
    assert_eq!(monitor.sent().await, ["EVALSHA"], "list of a user");
    store.erase(&user("dora"), 10).await.unwrap();
    assert_eq!(monitor.sent().await, ["EVALSHA"], "erase");
}

/// A small store has its sessions in a few of the shards. A script for each of the 1,024 shards
/// costs 50 ms; counting first costs 5 ms.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_all_runs_scripts_only_for_shards_that_have_sessions() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let names = ["ann", "bob", "eve"];
    for (number, name) in (0..).zip(names) {
        store.create(Arc::new(record_at(name, number)), None).await.unwrap();
    }
    let mut raw = lab.raw().await;
    let before = raw.calls("evalsha").await;
    let page = store.list(&ListQuery::default()).await.unwrap();
    assert_eq!(page.records.len(), names.len());
    assert_eq!(raw.calls("evalsha").await - before, 3, "list");
    let latest = ListQuery::default().with_created_since(at(2));
    assert_eq!(store.list(&latest).await.unwrap().records.len(), 1);
    assert_eq!(raw.calls("evalsha").await - before, 4, "list of the latest");
    assert_eq!(store.stats(NOW).await.unwrap().live, 3);
    assert_eq!(raw.calls("evalsha").await - before, 7, "statistics");
}

/// No call needs a command that scans keys, selects a database or accesses the configuration.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_scans_keys_or_reads_the_configuration() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    assert_works(&store).await;
    for name in ["keys", "scan", "flushall", "flushdb", "select", "config|get", "config|set"] {
        assert_eq!(raw.calls(name).await, 0, "{name}");
    }
    assert!(raw.calls("evalsha").await > 0);
}
