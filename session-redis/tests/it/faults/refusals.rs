//! A server that replies with a refusal.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use session_conformance::fixtures::{logged_out, record};
use session_core::prelude::*;
use session_redis::RedisStore;
use session_servers::{Options, Server};
use tokio::net::TcpStream;

use super::calls::{CALLS, READS, assert_fails, assert_recovers, assert_works, call, create, given, in_time};
use super::lab::{Lab, Raw, command, wait_for, wait_until};
use super::{DEADLINE, RECOVERY};
use crate::support::connected;

fn assert_unavailable<T>(what: &str, part: &str, result: Result<T>) {
    let error = assert_fails(what, ErrorKind::Unavailable, result);
    assert!(error.to_string().contains(part), "{what}: {error}");
}

/// Asserts that writes are refused in time with this detail, and that reads succeed.
async fn assert_reads_only(store: &RedisStore, session: &Arc<SessionRecord>, detail: &str) {
    for name in CALLS {
        let result = in_time(DEADLINE, name, call(store, name, session)).await;
        if READS.contains(&name) {
            result.unwrap();
        // These find nothing to write.
        } else if !["expire", "purge", "erase"].contains(&name) {
            assert_unavailable(name, detail, result);
        }
    }
    let ended =
        in_time(DEADLINE, "end", store.end(&EndScope::id(session.id), &logged_out(1), Timestamp::MAX)).await;
    assert_unavailable("end", detail, ended);
    assert!(store.load(&[session.id]).await.unwrap()[0].ended().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_save_serves_reads_only() {
    let Some(mut lab) = Lab::start_set(&["--save", "1 1"]) else { return };
    let store = lab.store();
    let folder = lab.server(|server| Ok(server.folder().to_owned()));
    let may_write = |mode| std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    let session = given(&store, "dora").await;
    let ann = given(&store, "ann").await;
    let mut raw = lab.raw().await;
    may_write(0o555);
    raw.run("SET touched 1").await;
    let failed = async || raw.info("persistence", "rdb_last_bgsave_status").await.unwrap() == "err";
    wait_for(3 * RECOVERY, "saving fails", failed).await;
    assert_reads_only(&store, &session, "cannot save").await;
    may_write(mode);
    wait_until("saving succeeds", async || {
        // The server refuses it while it saves on its own.
        let _ = raw.try_send::<redis::Value>(&command("BGSAVE")).await;
        raw.info("persistence", "rdb_last_bgsave_status").await.unwrap() == "ok"
    })
    .await;
    assert!(store.load(&[ann.id]).await.unwrap()[0].ended().is_none());
    assert_recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_clients_are_a_temporary_outage() {
    let Some(lab) = Lab::start_set(&["--maxclients", "3"]) else { return };
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(TcpStream::connect(("127.0.0.1", lab.port())).await.unwrap());
    }
    // The kernel accepts connections before the server counts them, and a connected client stays
    // connected.
    let mut store = lab.store_at(&lab.url());
    let full = async {
        while store.load(&[record("ann").id]).await.is_ok() {
            others.push(TcpStream::connect(("127.0.0.1", lab.port())).await.unwrap());
            store = lab.store_at(&lab.url());
        }
    };
    tokio::time::timeout(RECOVERY, full).await.expect("it is full");
    for _ in 0..3 {
        let created = in_time(DEADLINE, "create", store.create(Arc::new(record("ann")), None)).await;
        assert_fails("create", ErrorKind::Unavailable, created);
    }
    others.clear();
    assert_recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_wrong_password_is_reported() {
    let Some(lab) = Lab::start_set(&["--requirepass", "secret"]) else { return };
    let with = |password: &str| lab.url().replace("redis://", &format!("redis://:{password}@"));
    let id = record("ann").id;
    let (missing, wrong) = (lab.store_at(&lab.url()), lab.store_at(&with("wrong")));
    for _ in 0..3 {
        assert_unavailable(
            "missing",
            "asks for a password",
            in_time(DEADLINE, "load", missing.load(&[id])).await,
        );
        assert_unavailable("wrong", "password is wrong", in_time(DEADLINE, "load", wrong.load(&[id])).await);
    }
    let debug = format!("{:?} {:?}", wrong, wrong.load(&[id]).await);
    assert!(!debug.contains("secret") && !debug.contains("\"wrong\""), "{debug}");
    let right = lab.store_at(&with("secret"));
    connected(right.connection());
    assert_works(&right).await;

    // The store recovers without a restart when the password becomes valid.
    let mut raw = Raw::to(&with("secret")).await;
    raw.run("CONFIG SET requirepass wrong").await;
    assert_recovers(&wrong).await;
    assert_works(&right).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_to_run_scripts_is_reported() {
    let Some(lab) = Lab::start() else { return };
    let session = given(&lab.store(), "dora").await;
    let mut raw = lab.raw().await;
    raw.run("ACL SETUSER reader on >pw ~* &* +@all -evalsha -eval -info").await;
    let store = lab.store_at(&lab.url().replace("redis://", "redis://reader:pw@"));
    connected(store.connection());
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
    for name in ["create", "create under a limit", "update", "touch", "end", "list", "stats", "erase"] {
        assert_unavailable(name, "may not run", in_time(DEADLINE, name, call(&store, name, &session)).await);
    }
    raw.run("ACL SETUSER reader +evalsha +eval").await;
    assert_works(&store).await;
    // Nor may it read other keys.
    raw.run("ACL SETUSER reader resetkeys ~other:*").await;
    assert_unavailable("load", "may not run", store.load(&[session.id]).await);
    assert_unavailable("load of several", "may not run", store.load(&[session.id, record("ann").id]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_busy_with_a_script_is_unavailable_until_it_ends() {
    let Some(lab) = Lab::start_set(&["--busy-reply-threshold", "100"]) else { return };
    let store = lab.store();
    let session = given(&store, "dora").await;
    let (mut busy, mut other) = (lab.raw().await, lab.raw().await);
    let script = tokio::spawn(async move {
        let endless = redis::cmd("EVAL").arg("while true do end").arg(0).to_owned();
        busy.try_send::<redis::Value>(&endless).await
    });
    wait_until("it is busy", async || {
        other.try_send::<redis::Value>(&redis::cmd("GET").arg("x").to_owned()).await.is_err()
    })
    .await;
    for name in CALLS {
        assert_unavailable(name, "busy", in_time(DEADLINE, name, call(&store, name, &session)).await);
    }
    other.run("SCRIPT KILL").await;
    assert!(script.await.unwrap().is_err());
    assert_recovers(&store).await;
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_server_is_unavailable_until_it_is_the_primary() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let session = given(&store, "dora").await;
    let mut raw = lab.raw().await;
    raw.run("REPLICAOF 127.0.0.1 1").await;
    let refused = in_time(DEADLINE, "create", store.create(Arc::new(record("ann")), None)).await;
    assert_unavailable("create", "is a replica", refused);
    // The replica might be behind, so the store does not read from it either.
    for name in CALLS {
        assert_unavailable(name, "is a replica", in_time(DEADLINE, name, call(&store, name, &session)).await);
    }
    raw.run("REPLICAOF NO ONE").await;
    println!("recovered after {:?}", assert_recovers(&store).await);
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loads_its_data_is_unavailable_until_it_is_done() {
    let options = Options::default().with_durable(true).with_settings(["--aof-use-rdb-preamble", "yes"]);
    let options = options.with_settings([
        "--key-load-delay",
        "30000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let Some(mut lab) = Lab::start_with(&options) else { return };
    let store = lab.store();
    let mut sessions = Vec::new();
    for number in 0..100 {
        sessions.push(create(&store, session_conformance::fixtures::record_at("dora", number)).await.id);
    }
    lab.raw().await.run("BGREWRITEAOF").await;
    let mut raw = lab.raw().await;
    wait_until("it is written", async || {
        raw.info("persistence", "aof_rewrite_in_progress").await.unwrap() == "0"
            && raw.info("persistence", "aof_base_size").await.unwrap() != "0"
    })
    .await;
    lab.server(Server::kill);
    let starting = tokio::task::spawn_blocking(move || {
        drop(raw);
        tokio::runtime::Handle::current().block_on(async { lab.server(Server::start_again) });
        lab
    });
    let mut seen = Vec::new();
    wait_for(4 * RECOVERY, "it is loaded", async || {
        match in_time(DEADLINE, "load", store.load(&sessions)).await {
            Ok(found) => {
                assert_eq!(found.len(), sessions.len(), "it was asked too early");
                true
            }
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                seen.push(error.to_string());
                false
            }
        }
    })
    .await;
    assert!(seen.iter().any(|error| error.contains("loading its data")), "{seen:?}");
    drop(starting.await.unwrap());
}
