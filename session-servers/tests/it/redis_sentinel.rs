//! Redis servers with sentinels.

use std::time::{Duration, Instant};

use session_servers::{Options, RedisSentinels, Server};

use crate::client::query;
use crate::processes::{alive, wait_for_the_end_of, working_in};
use crate::redis::ask;

/// The longest failover. Sentinels that were not scheduled for a while do nothing for half a
/// minute.
const PATIENCE: Duration = Duration::from_secs(75);

fn with_sentinels(replicas: usize, options: &Options, claim: impl FnOnce(RedisSentinels)) {
    if let Some(sentinels) = RedisSentinels::for_test(replicas, options).unwrap() {
        claim(sentinels);
    }
}

/// Returns the port of the primary according to a sentinel.
fn primary(sentinel: &Server) -> u16 {
    let address = query(sentinel, "SENTINEL GET-MASTER-ADDR-BY-NAME session").unwrap();
    address.lines().last().unwrap().parse().unwrap()
}

#[test]
fn replica_takes_over_when_the_primary_is_killed() {
    let began = Instant::now();
    with_sentinels(2, &Options::default(), |mut servers| {
        println!("sentinels started in {} ms", began.elapsed().as_millis());
        assert_eq!(servers.master_name(), "session");
        let urls: Vec<_> = servers.sentinels().iter().map(Server::url).collect();
        assert_eq!((servers.sentinel_urls(), urls.len()), (urls, 3));
        let first = servers.primary().port();
        assert!(servers.sentinels().iter().all(|sentinel| primary(sentinel) == first));
        // `WAIT` refers to the writes of its own connection.
        assert_eq!(ask(&servers.primary().socket().unwrap(), &["SET kept 7", "WAIT 2 30000"]), ":2");

        let killed = Instant::now();
        servers.primary().kill().unwrap();
        while servers.sentinels().iter().any(|sentinel| primary(sentinel) == first) {
            assert!(killed.elapsed() < PATIENCE, "{:?}", query(&servers.sentinels()[0], "SENTINEL MASTERS"));
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("the replica took over after {} ms", killed.elapsed().as_millis());
        let next = primary(&servers.sentinels()[0]);
        let next = servers.replicas().iter().find(|replica| replica.port() == next).unwrap();
        assert_eq!(query(next, "SET kept 8 GET").unwrap(), "7");
    });
}

#[test]
fn settings_reach_the_primary_and_the_replicas() {
    let options = Options::default().with_settings(["--maxmemory", "3mb"]);
    with_sentinels(1, &options, |mut servers| {
        assert!(query(servers.primary(), "INFO memory").unwrap().contains("maxmemory:3145728"));
        assert_eq!(servers.replicas().len(), 1);
        assert!(query(&servers.replicas()[0], "INFO memory").unwrap().contains("maxmemory:3145728"));
        assert!(query(&servers.replicas()[0], "SET kept 7").unwrap_err().contains("READONLY"));
    });
}

#[test]
fn restarted_sentinel_remembers_its_primary() {
    with_sentinels(0, &Options::default(), |mut servers| {
        let first = servers.primary().port();
        let sentinel = &mut servers.sentinels()[0];
        sentinel.kill().unwrap();
        sentinel.start_again().unwrap();
        assert_eq!(primary(sentinel), first);
    });
}

#[test]
fn drop_leaves_neither_processes_nor_folders() {
    with_sentinels(1, &Options::default(), |mut servers| {
        servers.sentinels()[0].pause().unwrap();
        let mut folders = vec![servers.primary().folder().to_owned()];
        folders.extend(servers.replicas().iter().map(|server| server.folder().to_owned()));
        folders.extend(servers.sentinels().iter().map(|server| server.folder().to_owned()));
        let processes: Vec<_> = folders.iter().flat_map(|folder| working_in(folder)).collect();
        assert_eq!(alive(&processes).len(), 5);
        drop(servers);
        folders.iter().for_each(|folder| wait_for_the_end_of(&processes, folder));
    });
}
