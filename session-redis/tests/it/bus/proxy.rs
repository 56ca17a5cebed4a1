//! A network that can swallow what a subscription should hear.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Forwards connections to a port of this machine, until it is dropped.
pub(super) struct Proxy {
    port: u16,
    /// Subscribed connections that are older than this era hear nothing any more.
    era: Arc<watch::Sender<u64>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let era = Arc::new(watch::Sender::new(0));
        let (mut tasks, current) = (JoinSet::new(), Arc::clone(&era));
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                served.spawn(serve(client, port, Arc::clone(&current)));
            }
        });
        Self { port: own, era, _tasks: tasks }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// From now on nothing comes back on the connections that are subscribed, and none of them is closed. New ones work.
    pub(super) fn swallow(&self) {
        self.era.send_modify(|era| *era += 1);
    }
}

/// Ends, and so closes both sides, when one side is closed.
async fn serve(mut client: TcpStream, port: u16, era: Arc<watch::Sender<u64>>) {
    let born = *era.borrow();
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut asked, mut answered) = ([0; 16_384], [0; 16_384]);
    let mut is_subscribed = false;
    loop {
        tokio::select! {
            Ok(read) = client.read(&mut asked) => {
                // A command is sent in one piece.
                is_subscribed |= asked[..read].windows(9).any(|word| word == b"SUBSCRIBE");
                if read == 0 || server.write_all(&asked[..read]).await.is_err() {
                    return;
                }
            }
            Ok(read) = server.read(&mut answered) => {
                if read == 0 {
                    return;
                }
                let is_swallowed = is_subscribed && *era.borrow() > born;
                if !is_swallowed && client.write_all(&answered[..read]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}
