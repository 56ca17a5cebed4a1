use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use session_conformance::faults::Fault;
use session_core::{Actor, ErrorKind, Event, EventSink};

use crate::world::{World, user};

/// Everything that was counted, as `name{label=value}` and the count.
fn counted(story: impl AsyncFnOnce()) -> Vec<(String, u64)> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(story());
    });
    let entries = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
        let labels: Vec<_> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(values) => values.len() as u64,
            DebugValue::Gauge(_) => 0,
        };
        (format!("{}{{{}}}", key.key().name(), labels.join(",")), count)
    });
    entries.collect()
}

async fn story() {
    let world = World::new();
    let created = world.sign_in("ann@example.org").await;
    let token = created.token.expose();
    world.pass(60);
    world.validate(&token).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.validate("garbage").await.unwrap_err();
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("load"));
    world.validate(&token).await.unwrap_err();
    world.faults.disarm();
    world.manager.revoke_all(&user("ann@example.org"), &Actor::System).await.unwrap();
    world.validate(&token).await.unwrap_err();
}

#[test]
fn what_happens_is_counted_under_the_documented_names() {
    let counted = counted(story);
    let expect = |name: &str, count: u64| {
        let found = counted.iter().find(|(key, _)| key == name).map_or(0, |(_, count)| *count);
        assert_eq!(found, count, "{name} in {counted:#?}");
    };
    expect("session_created_total{}", 1);
    expect("session_validations_total{result=live}", 1);
    expect("session_validations_total{result=malformed}", 1);
    expect("session_validations_total{result=unavailable}", 1);
    expect("session_validations_total{result=ended}", 1);
    expect("session_ended_total{reason=revoked_by_admin}", 1);
    expect("session_touches_total{result=flushed}", 1);
    expect("session_store_seconds{backend=memory,operation=load}", 3);
    expect("session_store_failures_total{backend=memory,operation=load,kind=unavailable}", 1);
}

#[test]
fn no_label_holds_a_name_an_id_or_an_address() {
    let allowed = ["result", "reason", "backend", "operation", "kind", "worker"];
    for (key, _) in counted(story) {
        let labels = key.split_once('{').unwrap().1.trim_end_matches('}');
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (name, value) = label.split_once('=').unwrap();
            assert!(allowed.contains(&name), "{key}");
            assert!(value.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{key}");
        }
    }
}

/// Takes nothing until the test is over.
#[derive(Debug)]
struct Stuck(Arc<Mutex<()>>);

impl EventSink for Stuck {
    fn emit(&self, _event: &Event) {
        drop(self.0.lock());
    }
}

#[test]
fn events_that_find_no_place_are_counted() {
    let gate = Arc::new(Mutex::new(()));
    let sink = Stuck(Arc::clone(&gate));
    let closed = gate.lock().unwrap();
    let counted = counted(async || {
        let world = World::with(|builder| builder.with_event_sink(sink).with_limit(None));
        for _ in 0..4_200 {
            world.sign_in("ann").await;
        }
    });
    drop(closed);
    let dropped = counted.iter().find(|(key, _)| key == "session_events_dropped_total{}").unwrap().1;
    assert!(
        (4_200 - 4_097..=4_200 - 4_096).contains(&dropped),
        "4,096 wait, and the sink may hold one: {dropped}"
    );
}
