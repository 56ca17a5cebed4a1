//! A network between store and server that fails when it is told to.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to the connection that sends certain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// They arrive and are answered, but the connection is closed instead of the answer.
    After,
    /// They do not arrive, and the connection is closed.
    Before,
    /// They arrive and the answer comes, but nothing that is sent afterwards arrives.
    Deaf,
    /// They arrive and are answered, and neither the answer nor anything else ever comes.
    Hush,
}

/// Forwards connections to a port of this machine, until it is dropped.
pub(super) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    armed: watch::Sender<Option<(Cut, Vec<u8>)>>,
    met: AtomicBool,
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
            armed: watch::Sender::new(None),
            met: AtomicBool::new(false),
            era: watch::Sender::new(Era { number: 0, is_frozen: false }),
        });
        let (mut tasks, accepted) = (JoinSet::new(), Arc::clone(&shared));
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                served.spawn(serve(client, port, Arc::clone(&accepted)));
            }
        });
        Self { port: own, shared, _tasks: tasks }
    }

    /// The URL of a server, as it is reached through here.
    pub(super) fn url(&self, url: &str) -> String {
        let (head, tail) = url.rsplit_once(':').unwrap();
        let (_, database) = tail.split_once('/').unwrap();
        format!("{head}:{}/{database}", self.port)
    }

    /// Cuts the next connection that sends these bytes.
    pub(super) fn arm(&self, cut: Cut, bytes: &[u8]) {
        self.shared.met.store(false, Ordering::SeqCst);
        self.shared.armed.send_replace(Some((cut, bytes.to_owned())));
    }

    /// Asserts that a connection has sent them.
    #[track_caller]
    pub(super) fn assert_met(&self) {
        assert!(self.shared.met.load(Ordering::SeqCst), "the bytes were never sent");
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
        let mut met = None;
        self.armed.send_if_modified(|armed| {
            let is_it = |(_, wanted): &mut (Cut, Vec<u8>)| {
                bytes.windows(wanted.len()).any(|window| window == wanted.as_slice())
            };
            met = armed.take_if(is_it).map(|(cut, _)| cut);
            met.is_some()
        });
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
    let (mut asked, mut answered) = ([0; 16_384], [0; 16_384]);
    let mut is_deaf = false;
    loop {
        tokio::select! {
            Ok(read) = client.read(&mut asked), if !is_deaf => {
                shared.pass(born).await;
                let cut = shared.meet(&asked[..read]);
                if read == 0 || cut == Some(Cut::Before) || server.write_all(&asked[..read]).await.is_err() {
                    return;
                }
                is_deaf = cut == Some(Cut::Deaf);
                if let Some(Cut::After | Cut::Hush) = cut {
                    assert_ne!(server.read(&mut answered).await.unwrap(), 0, "no answer");
                }
                match cut {
                    Some(Cut::After) => return,
                    Some(Cut::Hush) => pending().await,
                    _ => {}
                }
            }
            Ok(read) = server.read(&mut answered) => {
                shared.pass(born).await;
                if read == 0 || client.write_all(&answered[..read]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}
