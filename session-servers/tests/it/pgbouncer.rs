//! A PgBouncer in front of a PostgreSQL server.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use session_servers::{Kind, Options, PgBouncer, Server};

use crate::processes::{alive, wait_for_the_end_of, working_in};

fn with_bouncer(options: &Options, claim: impl FnOnce(&Server, PgBouncer)) {
    crate::on(Kind::Postgres, &Options::default(), |server| {
        if let Some(bouncer) = PgBouncer::for_test(&server, options).unwrap() {
            claim(&server, bouncer);
        }
    });
}

/// Runs statements on one connection, each in its own transaction, and returns the output.
fn ask(url: &str, statements: &[&str]) -> String {
    let mut client = Command::new("psql");
    client.args([url, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
    client.args(statements.iter().flat_map(|statement| ["-c", *statement]));
    let output = client.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn replies_of_the_server_are_forwarded() {
    let began = Instant::now();
    with_bouncer(&Options::default(), |server, bouncer| {
        println!("{} and {} after {} ms", server.version(), bouncer.version(), began.elapsed().as_millis());
        let port = server.port().to_string();
        assert_eq!(ask(&bouncer.url(), &["SHOW port"]), port);
        assert!(!bouncer.url().contains(&port) && bouncer.version().starts_with("PgBouncer 1."));
    });
}

#[test]
fn settings_override_the_defaults() {
    let options = Options::default().with_settings(["pool_mode = session"]);
    with_bouncer(&options, |_, bouncer| {
        let console = bouncer.url().replace("/postgres", "/pgbouncer");
        assert!(ask(&console, &["SHOW CONFIG"]).contains("pool_mode|session|"));
    });
}

#[test]
fn drop_leaves_neither_process_nor_folder() {
    with_bouncer(&Options::default(), |_, bouncer| {
        let text = format!("{bouncer:?}");
        let folder = text.split('"').find(|part| Path::new(part).is_dir()).unwrap().to_owned();
        let processes = working_in(Path::new(&folder));
        assert_eq!(alive(&processes).len(), 1);
        drop(bouncer);
        wait_for_the_end_of(&processes, Path::new(&folder));
    });
}
