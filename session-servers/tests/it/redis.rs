//! The behaviour of Redis servers only.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use session_servers::{Kind, Options};

use crate::client::query;
use crate::on;

#[test]
fn socket_connects_to_the_server() {
    on(Kind::Redis, &Options::default(), |mut server| {
        let url = format!("redis://127.0.0.1:{}/", server.port());
        assert_eq!(server.url(), url);
        query(&server, "SET kept 7").unwrap();
        assert_eq!(ask(&server.socket().unwrap(), &["INCR kept"]), ":8");
        server.kill().unwrap();
        assert!(UnixStream::connect(server.socket().unwrap()).is_err());
    });
}

/// Sends commands on one connection, and returns the last reply. Each reply must be one line.
pub(crate) fn ask(socket: &Path, commands: &[&str]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let lines: String = commands.iter().map(|command| format!("{command}\r\n")).collect();
    stream.write_all(lines.as_bytes()).unwrap();
    BufReader::new(stream).lines().nth(commands.len() - 1).unwrap().unwrap()
}

#[test]
fn crash_of_a_server_that_is_not_durable_loses_its_data() {
    on(Kind::Redis, &Options::default(), |mut server| {
        query(&server, "SET kept 7").unwrap();
        server.kill().unwrap();
        server.start_again().unwrap();
        assert_eq!(query(&server, "GET kept").unwrap(), "");
    });
}

#[test]
fn server_that_still_reads_its_data_is_not_ready() {
    // The server waits for this number of microseconds for each command that it reads.
    let options = Options::default().with_durable(true).with_settings(["--key-load-delay", "300"]);
    on(Kind::Redis, &options, |mut server| {
        let many = "EVAL for\ti=1,3000\tdo\tredis.call('SET',i,i)\tend 0";
        query(&server, many).unwrap();
        server.kill().unwrap();
        server.start_again().unwrap();
        assert_eq!(query(&server, "GET 3000").unwrap(), "3000");
    });
}

#[test]
fn server_with_a_password_starts() {
    on(Kind::Redis, &Options::default().with_settings(["--requirepass", "secret"]), |server| {
        assert!(query(&server, "ECHO 1").unwrap_err().contains("NOAUTH"));
    });
}
