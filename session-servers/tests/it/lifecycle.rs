use std::time::{Duration, Instant};

use session_servers::{Error, Kind, Options, Server};

use crate::client::{begin, is_mongodb, keep, kept, one, query};
use crate::mongodb_client::SLEEP;
use crate::processes::{alive, wait_for_the_end_of, working_in};
use crate::{on, on_every_kind};

/// Longer than any reply takes.
const SILENCE: Duration = Duration::from_millis(300);

/// The longest statement, in seconds: even a slow machine starts it and pauses its server within
/// this time.
const LONG: u64 = 10;

const NONE: [&String; 0] = [];

on_every_kind!(
    server_answers_on_its_own_port,
    servers_are_independent,
    paused_server_is_silent_until_it_is_resumed,
    committed_data_survives_a_crash_of_a_durable_server,
    stopped_server_refuses_connections_and_restarts,
    dropped_server_leaves_neither_process_nor_folder,
    server_dropped_while_paused_leaves_nothing,
    server_killed_by_another_process_is_cleaned_up,
    settings_override_the_defaults,
    error_of_a_failed_start_shows_the_reason,
);

fn server_answers_on_its_own_port(kind: Kind) {
    let began = Instant::now();
    on(kind, &Options::default(), |server| {
        println!("{} started in {} ms", server.version(), began.elapsed().as_millis());
        assert_eq!(query(&server, one(kind)).unwrap(), "1");
        assert!(![3306, 5432, 6379, 27017].contains(&server.port()));
        assert!(server.url().contains(&format!("127.0.0.1:{}/", server.port())), "{server:?}");
        assert!(server.version().contains(|c: char| c.is_ascii_digit()), "{server:?}");
    });
}

fn servers_are_independent(kind: Kind) {
    on(kind, &Options::default(), |one| {
        on(kind, &Options::default(), |other| {
            keep(kind).iter().for_each(|statement| drop(query(&one, statement).unwrap()));
            assert_eq!(query(&one, kept(kind)).unwrap(), "7");
            assert_ne!(query(&other, kept(kind)), Ok("7".to_owned()));
        });
    });
}

fn paused_server_is_silent_until_it_is_resumed(kind: Kind) {
    for seconds in 1..=LONG {
        let Some(server) = Server::for_test(kind, &Options::default()).unwrap() else { return };
        if is_silent_while_paused(server, seconds) {
            return;
        }
    }
    panic!("the server was never paused while the statement ran");
}

/// Asserts that the server is silent while it is paused. Returns false if it was paused too late
/// for the check.
fn is_silent_while_paused(mut server: Server, seconds: u64) -> bool {
    // A statement that takes this time, and one that counts how many of them run.
    let (sleep, running) = match server.kind() {
        Kind::Redis => (
            format!("BLPOP nothing {seconds}"),
            "EVAL return(redis.call('INFO','clients'):match('blocked_clients:(%d)')) 0",
        ),
        Kind::Postgres => (
            format!("SELECT pg_sleep({seconds})"),
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(%'",
        ),
        kind if is_mongodb(kind) => {
            (format!("{SLEEP}{seconds}"), r#"opcounters.getmore {"serverStatus": 1}"#)
        }
        _ => (
            format!("SELECT SLEEP({seconds})"),
            "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(%'",
        ),
    };
    // A connection from before the pause. PostgreSQL serves it by its own process, which must be
    // silent too.
    let began = Instant::now();
    let earlier = begin(&server, &sleep);
    while query(&server, running).unwrap() != "1" {
        if earlier.is_finished() {
            earlier.join().unwrap().unwrap();
            return false;
        }
    }
    server.pause().unwrap();
    // The statement was sent after `began`, so it cannot end before `began` plus its duration.
    let due = Duration::from_secs(seconds).saturating_sub(began.elapsed());
    if due.is_zero() {
        return false;
    }
    let later = begin(&server, one(server.kind()));
    std::thread::sleep(due + SILENCE);
    assert!(!later.is_finished(), "a paused server has answered");
    assert!(!earlier.is_finished(), "a paused server has answered on an open connection");
    server.resume().unwrap();
    assert_eq!(later.join().unwrap().unwrap(), "1");
    earlier.join().unwrap().unwrap();
    true
}

fn committed_data_survives_a_crash_of_a_durable_server(kind: Kind) {
    on(kind, &Options::default().with_durable(true), |mut server| {
        assert!(server.folder().starts_with(std::env::temp_dir()));
        keep(kind).iter().for_each(|statement| drop(query(&server, statement).unwrap()));
        let (port, processes) = (server.port(), working_in(server.folder()));
        server.kill().unwrap();
        assert_eq!(alive(&processes), NONE);
        assert!(server.pid().is_none());
        assert!(query(&server, one(kind)).is_err());
        assert!(matches!(server.pause(), Err(Error::Stopped { .. })));
        server.start_again().unwrap();
        assert_eq!(server.port(), port);
        assert_eq!(query(&server, kept(kind)).unwrap(), "7");
        assert!(matches!(server.start_again(), Err(Error::Running { .. })));
    });
}

fn stopped_server_refuses_connections_and_restarts(kind: Kind) {
    on(kind, &Options::default(), |mut server| {
        keep(kind).iter().for_each(|statement| drop(query(&server, statement).unwrap()));
        server.pause().unwrap();
        server.stop().unwrap();
        assert!(query(&server, one(kind)).is_err());
        server.start_again().unwrap();
        // Redis keeps its data in memory only, unless it is durable.
        let expected = if kind == Kind::Redis { "" } else { "7" };
        assert_eq!(query(&server, kept(kind)).unwrap(), expected);
    });
}

fn dropped_server_leaves_neither_process_nor_folder(kind: Kind) {
    on(kind, &Options::default(), |server| {
        let (folder, processes) = (server.folder().to_owned(), working_in(server.folder()));
        assert!(!processes.is_empty() && folder.exists());
        let began = Instant::now();
        drop(server);
        println!("{kind} dropped in {} ms", began.elapsed().as_millis());
        assert_eq!(alive(&processes), NONE);
        assert!(!folder.exists());
    });
}

fn server_dropped_while_paused_leaves_nothing(kind: Kind) {
    on(kind, &Options::default(), |mut server| {
        let (folder, processes) = (server.folder().to_owned(), working_in(server.folder()));
        server.pause().unwrap();
        drop(server);
        assert_eq!(alive(&processes), NONE);
        assert!(!folder.exists());
    });
}

fn server_killed_by_another_process_is_cleaned_up(kind: Kind) {
    on(kind, &Options::default(), |mut server| {
        let (folder, processes) = (server.folder().to_owned(), working_in(server.folder()));
        server.pause().unwrap();
        let pid = server.pid().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        drop(server);
        wait_for_the_end_of(&processes, &folder);
    });
}

fn settings_override_the_defaults(kind: Kind) {
    let (settings, question): (&[&str], _) = match kind {
        Kind::Postgres => (&["-c", "max_connections=21"], "SHOW max_connections"),
        Kind::Redis => {
            (&["--maxclients", "21"], "EVAL return(redis.call('INFO','clients'):match('maxclients:(%d+)')) 0")
        }
        // SecantusDB does not expose its settings.
        kind if is_mongodb(kind) => return mongodb_setting_overrides_the_default(kind),
        _ => (&["--max-connections=21"], "SELECT @@max_connections"),
    };
    on(kind, &Options::default().with_settings(settings.iter().copied()), |server| {
        assert_eq!(query(&server, question).unwrap(), "21");
    });
}

fn mongodb_setting_overrides_the_default(kind: Kind) {
    on(kind, &Options::default().with_settings(["--storage-path", "elsewhere"]), |server| {
        assert!(server.folder().join("elsewhere").exists() && !server.folder().join("data").exists());
    });
}

fn error_of_a_failed_start_shows_the_reason(kind: Kind) {
    on(kind, &Options::default(), |mut server| {
        server.stop().unwrap();
        let _held = std::net::TcpListener::bind(("127.0.0.1", server.port())).unwrap();
        let error = server.start_again().unwrap_err().to_string();
        assert!(error.contains(&format!("did not start on port {}", server.port())), "{error}");
        assert!(error.contains("Address already in use"), "{error}");
    });
}
