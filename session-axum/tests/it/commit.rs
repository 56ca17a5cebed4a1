use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use session_axum::{Session, SessionContext, SessionError};
use session_conformance::faults::Fault;
use session_manager::core::{Actor, DataLimits, ErrorKind};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::support::{Answer, Backend, Client, site};

async fn visits(backend: &Backend, token: &str) -> Option<u32> {
    let session = backend.manager.validate(token, &Default::default()).await.unwrap();
    session.get("visits").unwrap()
}

#[tokio::test]
async fn data_is_written_once_after_the_handler() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    backend.faults.reset_calls();
    let answer = Client::new(backend.app()).with_token(&token).post("/visit").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "1"));
    assert_eq!((backend.faults.calls("update"), backend.faults.all_calls()), (1, 2));
    assert_eq!(visits(&backend, &token).await, Some(1));
}

#[tokio::test]
async fn data_of_a_failed_handler_is_discarded() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let answer = Client::new(backend.app()).with_token(&token).post("/half").await;
    assert_eq!((answer.status.as_u16(), answer.set_cookies().len()), (500, 0));
    assert_eq!(backend.faults.calls("update"), 0);
}

#[tokio::test]
async fn explicit_save_is_not_repeated() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let handler = async |session: Session| -> Result<(), SessionError> {
        session.insert("visits", &7)?;
        Ok(session.save().await?)
    };
    let app = Router::new().route("/", post(handler)).layer(backend.layer());
    assert_eq!(Client::new(app).with_token(&token).post("/").await.status, 200);
    assert_eq!(backend.faults.calls("update"), 1);
    assert_eq!(visits(&backend, &token).await, Some(7));
}

/// Polls a future once.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn disconnect_during_the_commit_keeps_the_data() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    backend.faults.arm(Fault::delay(Duration::from_millis(50)).on("update"));
    let request = Client::new(site().layer(backend.layer())).with_token(&token).request(
        "POST",
        "/visit",
        Body::empty(),
    );

    let mut response = Box::pin(site().layer(backend.layer()).oneshot(request));
    while backend.faults.calls("update") == 0 {
        assert!(poll_once(response.as_mut()).is_pending());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(response);

    while visits(&backend, &token).await.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(visits(&backend, &token).await, Some(1));
}

#[tokio::test]
async fn disconnect_before_the_handler_returns_writes_nothing() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let gate = Arc::new(Semaphore::new(0));
    let (entered, inside) = (Arc::new(Semaphore::new(0)), Arc::clone(&gate));
    let signal = Arc::clone(&entered);
    let handler = move |session: Session| async move {
        session.insert("visits", &1).unwrap();
        signal.add_permits(1);
        inside.acquire().await.unwrap().forget();
    };
    let app = Router::new().route("/", post(handler)).layer(backend.layer());
    let request = Client::new(app.clone()).with_token(&token).request("POST", "/", Body::empty());
    let task = tokio::spawn(app.oneshot(request));
    entered.acquire().await.unwrap().forget();
    task.abort();
    assert!(task.await.is_err());
    gate.add_permits(1);
    assert_eq!(visits(&backend, &token).await, None);
    assert_eq!(backend.faults.calls("update"), 0);
}

/// Writes a key while `happens` does something else to the session.
async fn meanwhile<F: Future<Output = ()> + Send>(
    backend: &Backend,
    token: &str,
    happens: impl Fn(session_manager::Session) -> F + Clone + Send + Sync + 'static,
) -> (Answer, Client) {
    let handler = async move |session: Session| {
        session.insert("visits", &100).unwrap();
        happens((*session).clone()).await;
        "the page"
    };
    let app = Router::new().route("/", post(handler)).layer(backend.layer());
    let mut client = Client::new(app).with_token(token);
    (client.post("/").await, client)
}

#[tokio::test]
async fn session_ended_during_the_request_is_401() {
    let backend = Backend::new();
    let (session, token) = backend.session("ann").await;
    let manager = backend.manager.clone();
    let end = move |session: session_manager::Session| {
        let manager = manager.clone();
        async move { drop(manager.revoke(session.id(), &Actor::System).await.unwrap()) }
    };
    let (answer, client) = meanwhile(&backend, &token, end).await;
    answer.assert_problem(401, "Sign in to continue.");
    assert_eq!(answer.set_cookies(), Vec::<&str>::new(), "a newer sign-in's cookie may be in the browser");
    assert!(client.cookie.is_some());
    assert!(backend.manager.validate(&token, &Default::default()).await.is_err());
    assert_eq!(
        backend.manager.list(&session.user_id().unwrap(), Default::default()).await.unwrap().sessions.len(),
        0
    );
}

#[tokio::test]
async fn a_conflict_is_409_and_keeps_the_cookie() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let (manager, theirs) = (backend.manager.clone(), token.clone());
    let write = move |_| {
        let (manager, theirs) = (manager.clone(), theirs.clone());
        async move {
            let other = manager.validate(&theirs, &Default::default()).await.unwrap();
            other.insert("visits", &2).unwrap();
            other.save().await.unwrap();
        }
    };
    let (answer, _) = meanwhile(&backend, &token, write).await;
    answer.assert_problem(
        409,
        "The session was changed by another request at the same time. Load the page again and repeat the change.",
    );
    assert_eq!(answer.set_cookies(), Vec::<&str>::new());
    assert_eq!(visits(&backend, &token).await, Some(2));
}

#[tokio::test]
async fn changes_of_different_keys_are_both_kept() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let (manager, theirs) = (backend.manager.clone(), token.clone());
    let write = move |_| {
        let (manager, theirs) = (manager.clone(), theirs.clone());
        async move {
            let other = manager.validate(&theirs, &Default::default()).await.unwrap();
            other.insert("theme", "dark").unwrap();
            other.save().await.unwrap();
        }
    };
    assert_eq!(meanwhile(&backend, &token, write).await.0.status, 200);
    let session = backend.manager.validate(&token, &Default::default()).await.unwrap();
    assert_eq!(session.get::<String>("theme").unwrap().as_deref(), Some("dark"));
    assert_eq!(session.get::<u32>("visits").unwrap(), Some(100));
}

#[tokio::test]
async fn too_much_data_is_413() {
    let backend = Backend::with(|builder| builder.with_data_limits(DataLimits::default().with_max_bytes(64)));
    let (_, token) = backend.session("ann").await;
    let handler = async |session: Session| -> Result<&str, SessionError> {
        session.insert("text", &"x".repeat(100))?;
        Ok("the page")
    };
    let app = Router::new().route("/", post(handler)).layer(backend.layer());
    let answer = Client::new(app).with_token(&token).post("/").await;
    answer.assert_problem(413, "The session cannot hold that much. Remove something first.");
    assert_eq!(answer.set_cookies(), Vec::<&str>::new());
}

#[tokio::test]
async fn failed_commit_does_not_reveal_its_cause() {
    for (kind, status) in [
        (ErrorKind::Other, 500),
        (ErrorKind::Corrupt, 500),
        (ErrorKind::Unavailable, 503),
        (ErrorKind::Timeout, 503),
    ] {
        let backend = Backend::new();
        let (_, token) = backend.session("ann").await;
        backend.faults.arm(Fault::error(kind).on("update"));
        let answer = Client::new(backend.app()).with_token(&token).post("/visit").await;
        match status {
            503 => answer.assert_unavailable(),
            _ => answer.assert_problem(500, "Something went wrong on our side. Try again later."),
        }
        assert_eq!(answer.set_cookies(), Vec::<&str>::new());
    }
}

#[tokio::test]
async fn response_waits_for_a_spawned_sign_in() {
    let backend = Backend::new();
    backend.faults.arm(Fault::delay(Duration::from_millis(30)).on("create"));
    let handler = async |context: SessionContext| {
        let (started, start) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut insert = Box::pin(context.insert("visits", &1));
            assert!(poll_once(insert.as_mut()).is_pending());
            started.send(()).unwrap();
            insert.await.unwrap();
        });
        start.await.unwrap();
    };
    let app = Router::new().route("/", get(handler)).layer(backend.layer());
    let answer = Client::new(app).get("/").await;
    assert_eq!(answer.set_cookies().len(), 1, "{answer:?}");
}
