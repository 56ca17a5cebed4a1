//! A TCP proxy between a client and its server that injects network faults.

mod connection;

use std::fmt;
use std::future::pending;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::connection::{Armed, Shared, Trap, forward};
use crate::Result;
use crate::error;
use crate::port::Port;

/// A fault of the connection that sends certain bytes.
///
/// A request is the bytes that the client sends at once. Its reply is the next bytes from the
/// server, so a client that pipelines requests may lose the wrong reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Forwards the request, and closes the connection instead of forwarding the reply.
    After,
    /// Closes the connection without forwarding the request.
    Before,
    /// Forwards the request and the reply, but no later request.
    IgnoreRequests,
    /// Forwards the request and the first half of the reply, then closes the connection.
    Half,
    /// Holds the request back, from the armed bytes on, until [`Proxy::disarm`].
    Hold,
    /// Forwards the request, but neither the reply nor any later bytes.
    Hush,
    /// Forwards the request, and resets the connection instead of forwarding the reply.
    Reset,
    /// Forwards the request, and closes only the reply direction, in order, instead of forwarding
    /// the reply. The client can still send.
    SlowClose,
}

/// Forwards TCP connections to a port of this machine until it is dropped, and injects network
/// faults.
///
/// It knows no protocol. A request with certain bytes, such as the id of a record, triggers the
/// fault of its connection, so a test does not depend on time.
///
/// ```
/// use session_servers::{Fault, Proxy};
///
/// # async fn example(server: session_servers::Server) -> session_servers::Result<()> {
/// let proxy = Proxy::to(server.port()).await?;
/// let url = proxy.url(&server.url());
///
/// // The server runs the command, but the reply is lost. A retry gets a reply.
/// proxy.arm(Fault::After, b"the id");
/// // The reply is lost on every retry, too.
/// proxy.arm_each(Fault::After, b"the id");
/// // Here a client writes through `url`.
/// println!("{} attempts", proxy.met());
/// proxy.disarm();
///
/// // The network drops everything, and connections stay open.
/// proxy.freeze();
/// proxy.pass_new();
/// # Ok(())
/// # }
/// ```
pub struct Proxy {
    port: Port,
    target: u16,
    shared: Arc<Shared>,
    open: Arc<Mutex<Open>>,
    _accepting: JoinSet<()>,
}

/// The open connections, and the handling of new ones.
#[derive(Default)]
struct Open {
    mode: Mode,
    tasks: JoinSet<()>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Mode {
    #[default]
    Pass,
    Freeze,
    Refuse,
}

impl Proxy {
    /// Starts a proxy on its own port, which connects to the port `target`.
    ///
    /// # Errors
    /// [`Io`](crate::Error::Io) if there is no free port.
    pub async fn to(target: u16) -> Result<Self> {
        let port = Port::free().map_err(error::io("find a free port"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).await;
        let listener = listener.map_err(error::io("listen"))?;
        let shared = Arc::new(Shared {
            accepted: AtomicUsize::new(0),
            armed: Mutex::new(None),
            delay: Mutex::new(Duration::ZERO),
            disarmed: watch::Sender::new(()),
            era: AtomicU64::new(0),
            met: watch::Sender::new(0),
        });
        let open = Arc::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, target, Arc::clone(&shared), Arc::clone(&open)));
        Ok(Self { port, target, shared, open, _accepting: accepting })
    }

    /// Returns the port on which the proxy listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Replaces the server's port in a URL by the proxy's port.
    ///
    /// # Panics
    /// If the URL does not contain the server's port, because a test would then bypass the proxy
    /// unnoticed.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let (target, own) = (format!(":{}", self.target), format!(":{}", self.port()));
        assert!(url.contains(&target), "{url} does not name port {}", self.target);
        url.replace(&target, &own)
    }

    /// Returns the number of accepted connections, including failed ones.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Arms a fault for the next request that contains these bytes only. Replaces what was armed
    /// before. An empty slice matches every request, including those that a driver sends by itself.
    pub fn arm(&self, fault: Fault, bytes: &[u8]) {
        self.set(bytes, Trap::Fault(fault), false);
    }

    /// Arms a fault for each request that contains these bytes, until something else is armed, or
    /// until [`disarm`](Self::disarm).
    pub fn arm_each(&self, fault: Fault, bytes: &[u8]) {
        self.set(bytes, Trap::Fault(fault), true);
    }

    /// Edits the requests of the connection that next sends these bytes, from that request on.
    /// Sends nothing if `edit` returns no bytes.
    pub fn edit_requests(&self, bytes: &[u8], edit: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) {
        self.set(bytes, Trap::Requests(Box::new(edit)), false);
    }

    /// Edits the replies to the connection that next sends these bytes, from that request on. Sends
    /// nothing if `edit` returns no bytes.
    pub fn edit_replies(&self, bytes: &[u8], edit: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) {
        self.set(bytes, Trap::Replies(Box::new(edit)), false);
    }

    fn set(&self, bytes: &[u8], trap: Trap, is_lasting: bool) {
        let mut armed = self.shared.armed.lock();
        self.shared.met.send_replace(0);
        *armed = Some(Armed { bytes: bytes.to_owned(), trap, is_lasting });
    }

    /// Disarms, and forwards the requests that are held back.
    pub fn disarm(&self) {
        *self.shared.armed.lock() = None;
        self.shared.disarmed.send_replace(());
    }

    /// Returns the number of requests that have triggered what was armed last.
    #[must_use]
    pub fn met(&self) -> usize {
        *self.shared.met.borrow()
    }

    /// Waits until a request has triggered what was armed last.
    pub async fn until_met(&self) {
        // The sender lives as long as `self`.
        let _ = self.shared.met.subscribe().wait_for(|met| *met > 0).await;
    }

    /// Delays all bytes from the server by this time.
    pub fn delay(&self, by: Duration) {
        *self.shared.delay.lock() = by;
    }

    /// Closes every open connection, but accepts new ones.
    pub fn cut(&self) {
        self.open.lock().tasks.abort_all();
    }

    /// Closes every open connection, and from now on closes new ones at once.
    pub fn refuse(&self) {
        let mut open = self.open.lock();
        open.mode = Mode::Refuse;
        open.tasks.abort_all();
    }

    /// Stops forwarding on open and on new connections, without closing any.
    pub fn freeze(&self) {
        let mut open = self.open.lock();
        open.mode = Mode::Freeze;
        self.shared.era.fetch_add(1, Ordering::SeqCst);
    }

    /// Forwards new connections again. Open connections are not affected: those from before or
    /// during a [`freeze`](Self::freeze) stay dead.
    pub fn pass_new(&self) {
        self.open.lock().mode = Mode::Pass;
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("port", &self.port())
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, target: u16, shared: Arc<Shared>, open: Arc<Mutex<Open>>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        let mut open = open.lock();
        while open.tasks.try_join_next().is_some() {}
        match open.mode {
            Mode::Pass => {
                let born = shared.era.load(Ordering::SeqCst);
                open.tasks.spawn(forward(client, target, Arc::clone(&shared), born));
            }
            Mode::Freeze => {
                open.tasks.spawn(async move {
                    let _open = client;
                    pending::<()>().await;
                });
            }
            Mode::Refuse => {}
        }
    }
}
