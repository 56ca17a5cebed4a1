//! Serving until somebody asks to stop, and an orderly end.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// How long requests under way may take once the program is asked to stop. Container platforms commonly kill after ten seconds, and
/// the sessions want a part of them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until Ctrl-C or SIGTERM, and then until the requests under way are answered.
pub(crate) async fn serve_until_asked(listener: TcpListener, app: Router) -> io::Result<()> {
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let asked = Arc::new(Notify::new());
    let tell = Arc::clone(&asked);
    let graceful = async move {
        request().await;
        say("\nfinishing what is under way; Ctrl-C again to stop at once");
        tell.notify_one();
    };
    let serving = axum::serve(listener, service).with_graceful_shutdown(graceful);
    let too_long = async {
        asked.notified().await;
        tokio::spawn(async {
            request().await;
            std::process::exit(130);
        });
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        served = serving => served,
        () = too_long => {
            say("some requests took too long and are not waited for");
            Ok(())
        }
    }
}

/// Waits for a request to stop.
async fn request() {
    tokio::select! {
        () = interrupted() => {}
        () = terminated() => {}
    }
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without the signal nobody asks for an orderly end.
        std::future::pending::<()>().await;
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

/// Prints a line. That nobody reads it any more is no reason to fail.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
