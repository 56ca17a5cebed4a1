use std::io::Write;
use std::sync::{Arc, Mutex};

use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{ClientInfo, ErrorKind, TracedStore};
use session_manager::{NewSession, SessionManager};
use session_memory::MemoryStore;
use tracing_subscriber::fmt::MakeWriter;

use crate::world::{World, user};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Everything that was logged at a level and above.
pub(crate) fn logged(
    level: tracing_subscriber::filter::LevelFilter,
    story: impl AsyncFnOnce() -> Vec<String>,
) -> (String, Vec<String>) {
    let captured = Captured::default();
    let spans = tracing_subscriber::fmt::format::FmtSpan::FULL;
    let subscriber = tracing_subscriber::fmt()
        .with_span_events(spans)
        .with_max_level(level)
        .with_writer(captured.clone())
        .finish();
    let secrets = tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(story())
    });
    let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    (text, secrets)
}

/// A life with a failure in it. Returns what must not be logged, at any level, and then the id and
/// address.
async fn life() -> Vec<String> {
    let world = World::new();
    let client = ClientInfo::new("192.0.2.99".parse().ok(), Some("SecretBrowser/1.0"));
    let new = NewSession::for_user(user("ann")).with_client(client);
    let created = world.manager.create(new).await.unwrap();
    let token = created.token.expose().to_string();
    created.session.insert("card", "4111-1111").unwrap();
    created.session.save().await.unwrap();
    let from = RequestClient::new("192.0.2.99".parse().ok(), Some("SecretBrowser/1.0"));
    world.manager.validate(&token, &from).await.unwrap();
    world.faults.arm(Fault::error(ErrorKind::Unavailable));
    let error = world.manager.validate(&token, &from).await.unwrap_err();
    tracing::error!(%error, debug = ?error, session = ?created.session, token = ?created.token, "as an application would");
    world.faults.disarm();
    world.manager.logout(&created.session).await.unwrap();

    let traced = SessionManager::builder(TracedStore::new(MemoryStore::default())).build().unwrap();
    let again = traced.create(NewSession::for_user(user("ann"))).await.unwrap();
    let other = again.token.expose().to_string();
    traced.validate(&other, &from).await.unwrap();
    vec![
        token[23..].to_owned(),
        other[23..].to_owned(),
        "4111-1111".to_owned(),
        created.session.id().to_string(),
    ]
}

#[test]
fn no_level_logs_a_token_or_data() {
    let (text, secrets) = logged(tracing_subscriber::filter::LevelFilter::TRACE, life);
    assert!(
        text.contains("session_validate")
            && text.contains("session created")
            && text.contains("session ended"),
        "something was captured: {text}"
    );
    for secret in &secrets[..3] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn information_level_holds_no_id_and_no_address() {
    let (text, secrets) = logged(tracing_subscriber::filter::LevelFilter::INFO, async || {
        let world = World::new();
        let client = ClientInfo::new("192.0.2.99".parse().ok(), None);
        let created =
            world.manager.create(NewSession::for_user(user("ann")).with_client(client)).await.unwrap();
        world.faults.arm(Fault::error(ErrorKind::Unavailable));
        world.validate(&created.token.expose()).await.unwrap_err();
        world.manager.sweep().await.unwrap_err();
        world.faults.disarm();
        world.manager.logout(&created.session).await.unwrap();
        vec![created.session.id().to_string()]
    });
    assert!(!text.contains(&secrets[0]) && !text.contains("192.0.2.99"), "{text}");
}
