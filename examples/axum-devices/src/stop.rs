//! Serves until the program receives a signal, then shuts down gracefully.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// Time for open requests after the signal. Container platforms commonly kill after ten seconds,
/// and the manager's shutdown needs a part of them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until a signal arrives, then until the open requests are answered or [`PATIENCE`] is
/// over.
pub(crate) async fn serve_until_stopped(
    listener: TcpListener,
    app: Router,
    mut stop: Stop,
) -> io::Result<()> {
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let stopping = Arc::new(Notify::new());
    let notifier = Arc::clone(&stopping);
    let graceful = async move {
        stop.received().await;
        print_line("\nfinishing open requests; press Ctrl-C again to stop at once");
        notifier.notify_one();
        tokio::spawn(async move {
            stop.received().await;
            std::process::exit(130);
        });
    };
    let serving = axum::serve(listener, service).with_graceful_shutdown(graceful);
    let too_long = async {
        stopping.notified().await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        served = serving => served,
        () = too_long => {
            print_line("some requests took too long and were cancelled");
            Ok(())
        }
    }
}

/// Handler of Ctrl-C and SIGTERM. Until it is created, both end the program at once.
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

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Handler of Ctrl-C.
#[cfg(not(unix))]
pub(crate) struct Stop;

#[cfg(not(unix))]
impl Stop {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn received(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without the signal there is no graceful shutdown.
            std::future::pending::<()>().await;
        }
    }
}

/// Prints a line. Ignores a closed output.
pub(crate) fn print_line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
