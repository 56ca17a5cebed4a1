//! Serves the demo shop on localhost.

mod stop;
mod store;

use std::fmt;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use axum_devices::{CONFIRM_AFTER, DEMO_USERS, Lifetimes, app, manager};
use clap::Parser;
use stop::{Stop, print_line};
use store::Opened;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// A small shop with sign-in, a cart and "your devices".
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(flatten)]
    store: store::Choice,
    /// The port to serve on; 0 picks a free one
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The address to serve on. The demo uses plain http: keep it on your own machine
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "IP")]
    listen: IpAddr,
    /// How long a session lasts without use: `90s`, `2m`, `1h`, `30d`. Try `2m` to see the warning
    #[arg(long, default_value = "30m", value_parser = duration, value_name = "TIME")]
    idle: Duration,
    /// How long a session lasts at most
    #[arg(long, default_value = "12h", value_parser = duration, value_name = "TIME")]
    lifetime: Duration,
    /// How old the entered password may be for the account page before it is asked for again
    /// [default: 5m]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    confirm_after: Option<Duration>,
}

/// Parses a number with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("`{text}` is not a duration: write a number and s, m, h or d, like 90s or 2m");
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let seconds: u64 = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(expected()),
    };
    let count: u64 = digits.parse().map_err(|_| expected())?;
    count.checked_mul(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(expected)
}

/// The reason why the demo does not run, with advice.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{address} is in use by another program. Stop that program, or choose another port: --port {}", .address.port().wrapping_add(1).max(1024))]
    InUse { address: SocketAddr },
    #[error("cannot serve on {address}: {source}. Choose another with --listen and --port")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("serving stopped: {0}")]
    Serve(io::Error),
    #[error("{0}. Choose other times with --idle and --lifetime")]
    Sessions(#[from] session_manager::core::Error),
    #[error(transparent)]
    Store(#[from] store::Failure),
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    // The layer warns that the cookie is not `Secure`, which is intended here.
    let quiet = || EnvFilter::new("warn,session_axum::layer=error");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| quiet());
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr).init();
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    let address = SocketAddr::new(options.listen, options.port);
    let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Failure::InUse { address },
        _ => Failure::Listen { address, source },
    })?;
    let Opened { store, place, steps } = store::open(&options.store).await?;
    if !steps.is_empty() {
        let names: Vec<_> = steps.iter().map(|step| step.name).collect();
        print_line(&format!("Migrated the table {}: {}", options.store.table, names.join(", ")));
    }
    let tiers = store::tiers(&options.store).await?;
    let manager = manager(store, Lifetimes::new(options.idle, options.lifetime), tiers)?;
    let address = listener.local_addr().unwrap_or(address);
    let stop = Stop::listen().map_err(Failure::Serve)?;
    print_line(&Welcome { address, place }.to_string());
    let app = app(manager.clone(), options.confirm_after.unwrap_or(CONFIRM_AFTER));
    let served = stop::serve_until_stopped(listener, app, stop).await;
    // Writes pending last-seen updates.
    manager.shutdown().await;
    served.map_err(Failure::Serve)
}

struct Welcome {
    address: SocketAddr,
    place: String,
}

impl fmt::Display for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Windowsill is open: http://{}", self.address)?;
        for user in DEMO_USERS {
            writeln!(f, "  sign in as {} with the password {}", user.id, user.password)?;
        }
        writeln!(f, "Sessions are in {}", self.place)?;
        write!(f, "Stop with Ctrl-C.")
    }
}
