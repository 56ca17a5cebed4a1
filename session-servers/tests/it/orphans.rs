//! A server whose owner is killed hard. The owner is this test program again, which runs the test `owner` alone.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use session_servers::{Kind, Options, Server};

use crate::client::{one, query};
use crate::on_every_kind;
use crate::processes::{alive, wait_for_the_end_of, working_in};

/// Says which server the owner starts, and whether it pauses it.
const OWNED: &str = "SESSION_SERVERS_TEST_OWNED";

on_every_kind!(
    a_server_ends_with_its_owner,
    a_paused_server_ends_with_its_owner,
    a_server_outlives_the_thread_that_started_it,
);

fn a_server_ends_with_its_owner(kind: Kind) {
    kill_the_owner_of(kind, "running");
}

fn a_paused_server_ends_with_its_owner(kind: Kind) {
    kill_the_owner_of(kind, "paused");
}

fn a_server_outlives_the_thread_that_started_it(kind: Kind) {
    let thread = std::thread::spawn(move || Server::for_test(kind, &Options::default()).unwrap());
    if let Some(server) = thread.join().unwrap() {
        assert_eq!(query(&server, one(kind)).unwrap(), "1");
    }
}

fn kill_the_owner_of(kind: Kind, state: &str) {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["orphans::owner", "--exact", "--nocapture"])
        .env(OWNED, format!("{}-{state}", kind.name()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let found = lines.map(|line| line.split("owned: ").nth(1).map(str::to_owned)).find(Option::is_some);
    let Some(line) = found.flatten() else {
        assert!(owner.wait().unwrap().success());
        return println!("skipped: {kind} is not installed");
    };
    let (pids, folder) = line.split_once(' ').unwrap();
    let (pids, folder): (Vec<_>, _) = (pids.split(',').map(str::to_owned).collect(), Path::new(folder));
    assert!(folder.exists());
    assert_eq!(alive(&pids).len(), pids.len());

    owner.kill().unwrap();
    owner.wait().unwrap();

    wait_for_the_end_of(&pids, folder);
}

#[test]
fn owner() {
    let Ok(owned) = std::env::var(OWNED) else { return };
    let (name, state) = owned.split_once('-').unwrap();
    let Some(mut server) = Server::for_test(name.parse().unwrap(), &Options::default()).unwrap() else {
        return;
    };
    if state == "paused" {
        server.pause().unwrap();
    }
    let pids = working_in(server.folder());
    println!("\nowned: {} {}", pids.join(","), server.folder().display());
    // Until it is killed; the end of the input is the end of the test that should have done so.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
