//! A cluster of Redis servers.

use std::time::{Duration, Instant};

use session_servers::{Kind, Options, RedisCluster, Server};

use crate::client::{printed, query, redis};
use crate::processes::{alive, wait_for_the_end_of, working_in};
use crate::redis::ask;

/// The longest failover.
const PATIENCE: Duration = Duration::from_secs(60);

/// One key in the slots of each of the three primaries.
const KEYS: [&str; 3] = ["b", "c", "a"];

fn with_cluster(replicas: usize, options: &Options, claim: impl FnOnce(RedisCluster)) {
    if let Some(cluster) = RedisCluster::for_test(replicas, options).unwrap() {
        claim(cluster);
    }
}

/// Sends a command to a node, and follows redirects.
fn follow(node: &Server, statement: &str) -> Result<String, String> {
    printed(&mut redis(&["-e", "-c", "-p", &node.port().to_string()], statement))
}

#[test]
fn each_node_has_a_third_of_the_slots_and_redirects() {
    let began = Instant::now();
    with_cluster(0, &Options::default(), |cluster| {
        println!("{} cluster started in {} ms", cluster.version(), began.elapsed().as_millis());
        assert_eq!(cluster.nodes().len(), 3);
        let urls: Vec<_> = cluster.nodes().iter().map(Server::url).collect();
        assert_eq!(cluster.url(), urls.join(","));
        for (key, owner) in KEYS.iter().zip(cluster.nodes()) {
            assert_eq!(query(owner, &format!("SET {key} 7")).unwrap(), "OK");
            for other in cluster.nodes().iter().filter(|other| other.port() != owner.port()) {
                let moved = query(other, &format!("GET {key}")).unwrap_err();
                assert!(
                    moved.starts_with("MOVED ") && moved.ends_with(&format!(":{}", owner.port())),
                    "{moved}"
                );
                assert_eq!(follow(other, &format!("GET {key}")).unwrap(), "7");
            }
        }
    });
}

#[test]
fn replica_takes_over_when_its_primary_is_killed() {
    let began = Instant::now();
    with_cluster(1, &Options::default(), |mut cluster| {
        println!("with three replicas it started in {} ms", began.elapsed().as_millis());
        assert_eq!(cluster.nodes().len(), 6);
        // `WAIT` refers to the writes of its own connection.
        let set = format!("SET {} 7", KEYS[0]);
        let socket = cluster.nodes()[0].socket().unwrap();
        assert_eq!(ask(&socket, &[&set, "WAIT 1 30000"]), ":1");
        let killed = Instant::now();
        cluster.node(0).kill().unwrap();
        while query(&cluster.nodes()[3], &format!("SET {} 8 GET", KEYS[0])).ok().as_deref() != Some("7") {
            assert!(killed.elapsed() < PATIENCE, "{:?}", query(&cluster.nodes()[3], "CLUSTER NODES"));
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("the replica took over after {} ms", killed.elapsed().as_millis());

        cluster.node(0).start_again().unwrap();
        while !query(&cluster.nodes()[0], "ROLE").unwrap().starts_with("slave") {
            assert!(killed.elapsed() < 2 * PATIENCE, "{:?}", query(&cluster.nodes()[0], "CLUSTER NODES"));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn restarted_node_keeps_its_address_and_durable_data() {
    with_cluster(0, &Options::default().with_durable(true), |mut cluster| {
        assert_eq!(query(&cluster.nodes()[1], &format!("SET {} 7", KEYS[1])).unwrap(), "OK");
        let url = cluster.url();
        cluster.node(1).kill().unwrap();
        cluster.node(1).start_again().unwrap();
        assert_eq!(cluster.url(), url);
        let began = Instant::now();
        while query(&cluster.nodes()[1], &format!("GET {}", KEYS[1])).ok().as_deref() != Some("7") {
            assert!(began.elapsed() < PATIENCE, "{:?}", query(&cluster.nodes()[1], "CLUSTER INFO"));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn settings_reach_every_node() {
    let options =
        Options::default().with_settings(["--cluster-require-full-coverage", "no", "--maxmemory", "3mb"]);
    with_cluster(0, &options, |cluster| {
        for node in cluster.nodes() {
            assert!(query(node, "CONFIG GET cluster-require-full-coverage").unwrap().ends_with("no"));
            assert!(query(node, "INFO memory").unwrap().contains("maxmemory:3145728"));
        }
    });
}

#[test]
fn drop_leaves_neither_processes_nor_folders() {
    with_cluster(0, &Options::default(), |mut cluster| {
        cluster.node(1).pause().unwrap();
        let folders: Vec<_> = cluster.nodes().iter().map(|node| node.folder().to_owned()).collect();
        let processes: Vec<_> = folders.iter().flat_map(|folder| working_in(folder)).collect();
        assert_eq!(alive(&processes).len(), 3);
        drop(cluster);
        folders.iter().for_each(|folder| wait_for_the_end_of(&processes, folder));
    });
}

#[test]
fn variable_is_named_after_the_suite() {
    assert_eq!(RedisCluster::VARIABLE, format!("SESSION_TEST_{}_URL", RedisCluster::NAME.to_uppercase()));
    assert!(RedisCluster::NAME.parse::<Kind>().is_err());
}
