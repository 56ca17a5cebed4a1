//! A network between a client and its server that fails when it is told to.

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

/// What becomes of the connection that sends certain bytes.
///
/// A request is what the client sends at once. Its answer is what the server sends next, so a client that asks a second question before
/// the first is answered may lose the wrong answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The request arrives and is answered, but the connection is closed instead of the answer.
    After,
    /// The request does not arrive, and the connection is closed.
    Before,
    /// The request arrives and the answer comes, but nothing that is sent afterwards arrives.
    Deaf,
    /// The request arrives, and of the answer comes the first half; then the connection is closed.
    Half,
    /// The request waits, from those bytes on, until [`Proxy::disarm`].
    Hold,
    /// The request arrives and is answered, and neither the answer nor anything else ever comes.
    Hush,
    /// The request arrives and is answered, but the connection is reset instead of the answer.
    Reset,
    /// The request arrives and is answered. The answers end there, in order, but the connection is not closed for what is asked.
    SlowClose,
}

/// Forwards TCP connections to a port of this machine until it is dropped, and lets them fail as a network does.
///
/// It knows no protocol. What happens to one connection begins with a request that contains certain bytes, such as the id of a record, so
/// a test does not depend on time.
///
/// ```
/// use session_servers::{Fault, Proxy};
///
/// # async fn example(server: session_servers::Server) -> session_servers::Result<()> {
/// let proxy = Proxy::to(server.port()).await?;
/// let url = proxy.url(&server.url());
///
/// // The server does it, and the client does not hear of it; then it asks again, and hears.
/// proxy.arm(Fault::After, b"the id");
/// // It does not hear of it however often it asks.
/// proxy.arm_each(Fault::After, b"the id");
/// // Here something is written through `url`.
/// println!("{} attempts", proxy.met());
/// proxy.disarm();
///
/// // Nobody says that the network is gone.
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

/// The connections that are open, and what becomes of new ones.
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
    /// Listens on a port of its own, and connects to this one.
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

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The URL of its server, as it is reached through here.
    ///
    /// # Panics
    /// If the URL does not name the server's port, because then a test would go past the proxy without noticing.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let (target, own) = (format!(":{}", self.target), format!(":{}", self.port()));
        assert!(url.contains(&target), "{url} does not name port {}", self.target);
        url.replace(&target, &own)
    }

    /// How many connections there have been, whatever became of them.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Does that to the next request that contains these bytes, and to no other. Nothing else is armed then. No bytes are in every
    /// request, also in those that a driver sends by itself.
    pub fn arm(&self, fault: Fault, bytes: &[u8]) {
        self.set(bytes, Trap::Fault(fault), false);
    }

    /// Does that to each request that contains these bytes, until something else is armed, or [`disarm`](Self::disarm).
    pub fn arm_each(&self, fault: Fault, bytes: &[u8]) {
        self.set(bytes, Trap::Fault(fault), true);
    }

    /// Passes on something else, or nothing, from the next request that contains these bytes on: for what its connection sends.
    pub fn edit_requests(&self, bytes: &[u8], edit: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) {
        self.set(bytes, Trap::Requests(Box::new(edit)), false);
    }

    /// Passes on something else, or nothing, from the next request that contains these bytes on: for what its connection hears.
    pub fn edit_replies(&self, bytes: &[u8], edit: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) {
        self.set(bytes, Trap::Replies(Box::new(edit)), false);
    }

    fn set(&self, bytes: &[u8], trap: Trap, is_lasting: bool) {
        let mut armed = self.shared.armed.lock();
        self.shared.met.send_replace(0);
        *armed = Some(Armed { bytes: bytes.to_owned(), trap, is_lasting });
    }

    /// From now on nothing is armed, and what is held goes on.
    pub fn disarm(&self) {
        *self.shared.armed.lock() = None;
        self.shared.disarmed.send_replace(());
    }

    /// How many requests have met what was armed last.
    #[must_use]
    pub fn met(&self) -> usize {
        *self.shared.met.borrow()
    }

    /// Waits until a request has met it.
    pub async fn until_met(&self) {
        // The sender lives as long as this.
        let _ = self.shared.met.subscribe().wait_for(|met| *met > 0).await;
    }

    /// Lets whatever a server sends come so much later.
    pub fn delay(&self, by: Duration) {
        *self.shared.delay.lock() = by;
    }

    /// Closes every open connection. New ones are not concerned.
    pub fn cut(&self) {
        self.open.lock().tasks.abort_all();
    }

    /// Closes every open connection, and from now on new ones at once.
    pub fn refuse(&self) {
        let mut open = self.open.lock();
        open.mode = Mode::Refuse;
        open.tasks.abort_all();
    }

    /// From now on nothing passes, on open connections and on new ones, and none is closed.
    pub fn freeze(&self) {
        let mut open = self.open.lock();
        open.mode = Mode::Freeze;
        self.shared.era.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on new connections pass. Those that are open stay as they are, which after [`freeze`](Self::freeze) is dead.
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
