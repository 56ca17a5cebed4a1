//! A network between store and server that fails when it is told to.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// In which what was sent together arrives.
const PACKET: Duration = Duration::from_millis(20);

/// What happens to the connection that sends certain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// They arrive and are answered, but the connection is closed instead of the answer.
    After,
    /// They do not arrive, and the connection is closed.
    Before,
    /// They arrive, and of the answer that follows comes the first half; then the connection is closed.
    Half,
    /// They arrive and are answered, and neither the answer nor anything else ever comes.
    Hush,
    /// They arrive and are answered, but the connection is reset instead of the answer.
    Reset,
    /// They arrive and are answered. The answers end there, in order, but the connection is not closed for what is asked.
    SlowClose,
    /// They are answered by two replies, which change places.
    Swap,
    /// They are answered by two replies, and the first comes twice.
    Twice,
}

/// Forwards connections to a port of this machine, until it is dropped.
pub(super) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    armed: Mutex<Option<(Cut, Vec<u8>)>>,
    met: AtomicBool,
    accepted: AtomicUsize,
    delay: Mutex<Duration>,
    era: watch::Sender<Era>,
}

/// A connection is dead once its era is over, or while nothing passes.
#[derive(Debug, Clone, Copy)]
struct Era {
    number: u64,
    is_frozen: bool,
}

impl Proxy {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            armed: Mutex::new(None),
            met: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            delay: Mutex::new(Duration::ZERO),
            era: watch::Sender::new(Era { number: 0, is_frozen: false }),
        });
        let (mut tasks, accepted) = (JoinSet::new(), Arc::clone(&shared));
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                accepted.accepted.fetch_add(1, Ordering::SeqCst);
                served.spawn(serve(client, port, Arc::clone(&accepted)));
            }
        });
        Self { port: own, shared, _tasks: tasks }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// How many connections there have been.
    pub(super) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Does that to the next connection that sends these bytes.
    pub(super) fn arm(&self, cut: Cut, bytes: &[u8]) {
        self.shared.met.store(false, Ordering::SeqCst);
        *self.shared.armed.lock() = Some((cut, bytes.to_owned()));
    }

    /// Asserts that a connection has sent them.
    #[track_caller]
    pub(super) fn assert_met(&self) {
        assert!(self.shared.met.load(Ordering::SeqCst), "the bytes were never sent");
    }

    /// Lets every answer come so much later.
    pub(super) fn delay(&self, by: Duration) {
        *self.shared.delay.lock() = by;
    }

    /// From now on nothing passes, on open connections and on new ones, and none is closed.
    pub(super) fn freeze(&self) {
        self.shared.era.send_modify(|era| era.is_frozen = true);
    }

    /// From now on new connections pass. Those that were open stay as dead as they are.
    pub(super) fn pass_new(&self) {
        self.shared.era.send_modify(|era| *era = Era { number: era.number + 1, is_frozen: false });
    }
}

impl Shared {
    /// Takes what is armed, if these bytes contain it. They are sent at once, so they come in one piece.
    fn meet(&self, bytes: &[u8]) -> Option<Cut> {
        let is_it = |(_, wanted): &mut (Cut, Vec<u8>)| {
            bytes.windows(wanted.len()).any(|window| window == wanted.as_slice())
        };
        let met = self.armed.lock().take_if(is_it).map(|(cut, _)| cut);
        self.met.fetch_or(met.is_some(), Ordering::SeqCst);
        met
    }

    /// Waits for ever once a connection of this era is dead.
    async fn pass(&self, born: u64) {
        let era = *self.era.borrow();
        if era.is_frozen || era.number > born {
            pending::<()>().await;
        }
    }
}

/// Ends, and so closes both sides, when one side is closed or the connection is cut.
async fn serve(mut client: TcpStream, port: u16, shared: Arc<Shared>) {
    let born = shared.era.borrow().number;
    shared.pass(born).await;
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut asked, mut answered) = ([0; 65_536], [0; 65_536]);
    loop {
        tokio::select! {
            Ok(read) = client.read(&mut asked) => {
                shared.pass(born).await;
                let cut = shared.meet(&asked[..read]);
                if read == 0 || cut == Some(Cut::Before) || server.write_all(&asked[..read]).await.is_err() {
                    return;
                }
                let Some(cut) = cut else { continue };
                let mut replies = vec![reply(&mut server).await];
                match cut {
                    Cut::After | Cut::Before => return,
                    Cut::Half => return client.write_all(&replies[0][..replies[0].len() / 2]).await.unwrap(),
                    Cut::Hush => pending().await,
                    Cut::Reset => return client.set_zero_linger().unwrap(),
                    Cut::SlowClose => {
                        client.shutdown().await.unwrap();
                        while client.read(&mut asked).await.is_ok_and(|read| read > 0) {}
                        return;
                    }
                    Cut::Swap | Cut::Twice => {
                        // The second question may come by itself.
                        while timeout(PACKET, server.peek(&mut [0])).await.is_err() {
                            let Ok(Ok(read)) = timeout(PACKET, client.read(&mut asked)).await else { continue };
                            server.write_all(&asked[..read]).await.unwrap();
                        }
                        let second = reply(&mut server).await;
                        let at = usize::from(cut == Cut::Twice);
                        replies.insert(at, if at == 1 { replies[0].clone() } else { second.clone() });
                        replies.extend((at == 1).then_some(second));
                    }
                }
                client.write_all(&replies.concat()).await.unwrap();
            }
            Ok(read) = server.read(&mut answered) => {
                shared.pass(born).await;
                let delay = *shared.delay.lock();
                if delay > Duration::ZERO {
                    tokio::time::sleep(delay).await;
                }
                if read == 0 || client.write_all(&answered[..read]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

/// One whole reply, and nothing of the next.
async fn reply(server: &mut TcpStream) -> Vec<u8> {
    let (mut bytes, mut missing) = (Vec::new(), 1);
    while missing > 0 {
        missing -= 1;
        let from = bytes.len();
        while !bytes[from..].ends_with(b"\r\n") {
            bytes.push(server.read_u8().await.unwrap());
        }
        let line = std::str::from_utf8(&bytes[from..bytes.len() - 2]).unwrap();
        let (kind, number) = line.split_at(1);
        match (kind, number.parse::<usize>()) {
            ("$", Ok(length)) => {
                let mut text = vec![0; length + 2];
                server.read_exact(&mut text).await.unwrap();
                bytes.extend(text);
            }
            ("*", Ok(parts)) => missing += parts,
            _ => {}
        }
    }
    bytes
}
