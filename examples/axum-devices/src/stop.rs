//! Serving until somebody asks to stop, and an orderly end.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// How long requests under way may take once the program is asked to stop. Container platforms commonly kill after ten seconds, and
/// the sessions want a part of them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until somebody asks to stop, and then until the requests under way are answered.
pub(crate) async fn serve_until_asked(listener: TcpListener, app: Router, mut stop: Stop) -> io::Result<()> {
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let asked = Arc::new(Notify::new());
    let tell = Arc::clone(&asked);
    let graceful = async move {
        stop.asked().await;
        say("\nfinishing what is under way; Ctrl-C again to stop at once");
        tell.notify_one();
        tokio::spawn(async move {
            stop.asked().await;
            std::process::exit(130);
        });
    };
    let serving = axum::serve(listener, service).with_graceful_shutdown(graceful);
    let too_long = async {
        asked.notified().await;
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

/// Ctrl-C and SIGTERM, from the moment this is made. Before, they end the program at once.
#[cfg(unix)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

#[cfg(unix)]
impl Stop {
    pub(crate) fn listen() -> io::Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
pub(crate) struct Stop;

#[cfg(not(unix))]
impl Stop {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn asked(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without the signal nobody asks for an orderly end.
            std::future::pending::<()>().await;
        }
    }
}

/// Prints a line. That nobody reads it any more is no reason to fail.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
