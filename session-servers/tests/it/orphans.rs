//! Servers whose owner is killed. The owner is another process of this test program, which runs
//! only the test `owner`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use session_servers::{Kind, Options, Server};

use crate::client::{one, query};
use crate::on_every_kind;
use crate::processes::{alive, wait_for_the_end_of, working_in};

/// The variable with the kind of server that the owner starts, and whether it pauses the server.
const OWNED: &str = "SESSION_SERVERS_TEST_OWNED";

on_every_kind!(
    server_ends_with_its_owner,
    paused_server_ends_with_its_owner,
    server_outlives_the_thread_that_started_it,
);

fn server_ends_with_its_owner(kind: Kind) {
    kill_the_owner_of(kind, "running");
}

fn paused_server_ends_with_its_owner(kind: Kind) {
    kill_the_owner_of(kind, "paused");
}

fn server_outlives_the_thread_that_started_it(kind: Kind) {
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
    // Waits to be killed. The input ends if the parent test ends without killing this process.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
