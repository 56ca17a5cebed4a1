//! One connection between a client and its server.

use std::future::pending;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Fault;

const BUFFER: usize = 65_536;

/// The state that all connections of a proxy share.
pub(super) struct Shared {
    pub(super) accepted: AtomicUsize,
    pub(super) armed: Mutex<Option<Armed>>,
    pub(super) delay: Mutex<Duration>,
    pub(super) disarmed: watch::Sender<()>,
    /// Connections of an earlier era are dead.
    pub(super) era: AtomicU64,
    pub(super) met: watch::Sender<usize>,
}

/// The bytes that trigger, and the effect on the connection that sends them.
pub(super) struct Armed {
    pub(super) bytes: Vec<u8>,
    pub(super) trap: Trap,
    pub(super) is_lasting: bool,
}

pub(super) enum Trap {
    Fault(Fault),
    Replies(Edit),
    Requests(Edit),
}

/// Returns the bytes to forward in place of the given ones.
pub(super) type Edit = Box<dyn FnMut(&[u8]) -> Vec<u8> + Send>;

/// Forwards a connection until one side closes it or the proxy cuts it, and then closes both sides.
pub(super) async fn forward(client: TcpStream, target: u16, shared: Arc<Shared>, born: u64) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    let mut connection = Connection {
        client,
        server,
        born,
        disarmed: shared.disarmed.subscribe(),
        shared,
        fault: None,
        held: Vec::new(),
        ignores_requests: false,
        requests: Box::new(<[u8]>::to_vec),
        replies: Box::new(<[u8]>::to_vec),
    };
    let (mut asked, mut answered) = (vec![0; BUFFER], vec![0; BUFFER]);
    // An error on either side ends the connection.
    while let Ok(true) = connection.carry(&mut asked, &mut answered).await {}
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    shared: Arc<Shared>,
    born: u64,
    /// The fault of the next reply.
    fault: Option<Fault>,
    held: Vec<u8>,
    disarmed: watch::Receiver<()>,
    ignores_requests: bool,
    requests: Edit,
    replies: Edit,
}

/// Each step returns true if another one follows.
impl Connection {
    async fn carry(&mut self, asked: &mut [u8], answered: &mut [u8]) -> io::Result<bool> {
        let is_held = !self.held.is_empty();
        tokio::select! {
            read = self.client.read(asked), if !is_held && !self.ignores_requests => {
                self.live().await;
                self.request(&asked[..read?]).await
            }
            read = self.server.read(answered) => {
                self.delay().await;
                self.live().await;
                self.reply(&answered[..read?]).await
            }
            _ = self.disarmed.changed(), if is_held => {
                let held = std::mem::take(&mut self.held);
                self.server.write_all(&held).await.map(|()| true)
            }
        }
    }

    /// Handles a request. An empty one is the end of the stream.
    async fn request(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            return Ok(false);
        }
        // Only a later call of `disarm` releases a request that is held back now.
        self.disarmed.mark_unchanged();
        match self.shared.trigger(bytes) {
            Some((_, Trap::Fault(Fault::Before))) => return Ok(false),
            Some((at, Trap::Fault(Fault::Hold))) => {
                self.held = bytes[at..].to_owned();
                return self.server.write_all(&bytes[..at]).await.map(|()| true);
            }
            Some((_, Trap::Fault(fault))) => self.fault = Some(fault),
            Some((_, Trap::Replies(edit))) => self.replies = edit,
            Some((_, Trap::Requests(edit))) => self.requests = edit,
            None => {}
        }
        self.server.write_all(&(self.requests)(bytes)).await.map(|()| true)
    }

    /// Handles a reply. An empty one is the end of the stream.
    async fn reply(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            return Ok(false);
        }
        let (bytes, fault) = ((self.replies)(bytes), self.fault.take());
        self.ignores_requests |= fault == Some(Fault::IgnoreRequests);
        match fault {
            Some(Fault::After) => Ok(false),
            Some(Fault::Half) => self.client.write_all(&bytes[..bytes.len() / 2]).await.map(|()| false),
            Some(Fault::Hush) => pending().await,
            Some(Fault::Reset) => self.client.set_zero_linger().map(|()| false),
            Some(Fault::SlowClose) => {
                self.client.shutdown().await?;
                copy(&mut self.client, &mut sink()).await.map(|_| false)
            }
            Some(Fault::Before | Fault::IgnoreRequests | Fault::Hold) | None => {
                self.client.write_all(&bytes).await.map(|()| true)
            }
        }
    }

    async fn delay(&mut self) {
        let delay = *self.shared.delay.lock();
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
    }

    /// Never returns once the connection is dead.
    async fn live(&mut self) {
        if self.shared.era.load(Ordering::SeqCst) > self.born {
            pending::<()>().await;
        }
    }
}

impl Shared {
    /// Returns the effect that these bytes trigger, and the position at which it begins.
    fn trigger(&self, bytes: &[u8]) -> Option<(usize, Trap)> {
        let mut armed = self.armed.lock();
        let at = position(bytes, &armed.as_ref()?.bytes)?;
        let trap = match *armed.as_ref()? {
            Armed { trap: Trap::Fault(fault), is_lasting: true, .. } => Trap::Fault(fault),
            _ => armed.take()?.trap,
        };
        self.met.send_modify(|met| *met += 1);
        Some((at, trap))
    }
}

/// Finds the part in the bytes. A client sends a request at once, so the part arrives in one piece.
fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|at| bytes[*at..].starts_with(part))
}
