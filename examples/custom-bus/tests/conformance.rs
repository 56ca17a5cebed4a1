//! The bus suite on a NATS server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use custom_bus::NatsTransport;
use session_core::{BusEvent, BusHealth, InvalidationBus};
use session_runtime::bus::Bus;
use session_servers::{Kind, Options, Server};

static SUBJECTS: AtomicU32 = AtomicU32::new(0);

session_conformance::session_bus_suite!(nats, env "SESSION_TEST_NATS_URL", |url: String| async move {
    let client = async_nats::connect(&url).await.unwrap();
    let subject = format!("sessions.{}.{}", process::id(), SUBJECTS.fetch_add(1, Ordering::Relaxed));
    move || Bus::new(NatsTransport::new(client.clone(), &url, &subject))
});

/// What was sent while the server was away is missing, so copies from before must not count.
#[tokio::test]
async fn a_server_that_starts_again_is_a_gap() {
    let Some(mut server) = Server::for_test(Kind::Nats, &Options::default()).unwrap() else { return };
    let client = async_nats::connect(server.url()).await.unwrap();
    let bus = Bus::new(NatsTransport::new(client, &server.url(), "sessions"));
    let mut subscription = bus.subscribe().await.unwrap();
    server.kill().unwrap();
    server.start_again().unwrap();
    let gap = tokio::time::timeout(Duration::from_secs(30), async {
        while subscription.next().await != BusEvent::Resync {}
        while bus.health() != BusHealth::Healthy {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    gap.await.expect("a resync, and a healthy bus after it");
}
