//! The statements that a store sends, from the driver's log.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

static SENT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs a call. Returns its result and the statements, at least `least`, that it sent and that
/// contain a name.
pub(super) async fn sent<T>(name: &str, least: usize, call: impl Future<Output = T>) -> (T, Vec<String>) {
    static ONCE: Once = Once::new();
    // One recorder for the process, because the SQLite driver logs from its own threads.
    ONCE.call_once(|| tracing::subscriber::set_global_default(Recorder).unwrap());
    let mut all: Vec<String> = Vec::new();
    take(name);
    let result = call.await;
    let last = async {
        loop {
            all.extend(take(name));
            if all.len() >= least {
                break;
            }
            // A thread of the SQLite driver replies before it logs.
            tokio::task::yield_now().await;
        }
    };
    let logged = timeout(Duration::from_secs(10), last).await;
    logged.unwrap_or_else(|_| panic!("the driver logged fewer than {least} statements"));
    (result, all)
}

/// Removes and returns the statements that contain a name.
fn take(name: &str) -> Vec<String> {
    let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    sent.extract_if(.., |text| text.contains(name)).collect()
}

struct Recorder;

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        // The driver omits the statement if the summary contains all of it.
        let text = if text.statement.is_empty() { text.summary } else { text.statement };
        SENT.lock().unwrap_or_else(PoisonError::into_inner).push(text.trim().to_owned());
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text {
    statement: String,
    summary: String,
}

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "db.statement" => value.clone_into(&mut self.statement),
            "summary" => value.clone_into(&mut self.summary),
            _ => {}
        }
    }
}
