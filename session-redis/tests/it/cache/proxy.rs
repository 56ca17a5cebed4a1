//! A network between cache and server, for its first connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to the requests of the first connection.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    Pass,
    /// Every occurrence of the one is replaced by the other, as if the replies to two requests were swapped.
    Swap(Vec<u8>, Vec<u8>),
    /// From this on, everything waits for another rule.
    Hold(Vec<u8>),
}

/// Forwards connections to a port of this machine, until it is dropped.
pub(super) struct Proxy {
    port: u16,
    rule: watch::Sender<Rule>,
    accepted: Arc<AtomicUsize>,
    held: watch::Receiver<bool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (rule, rules) = watch::channel(Rule::Pass);
        let (holding, held) = watch::channel(false);
        let (accepted, count) = (Arc::default(), AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let seen: Arc<AtomicUsize> = Arc::clone(&accepted);
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                seen.fetch_add(1, Ordering::SeqCst);
                let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
                served.spawn(serve(client, port, is_first.then(|| rules.clone()), holding.clone()));
            }
        });
        Self { port: own, rule, accepted, held, _tasks: tasks }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(super) fn set(&self, rule: Rule) {
        self.rule.send_replace(rule);
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Waits until something is held.
    pub(super) async fn holds(&mut self) {
        self.held.wait_for(|held| *held).await.unwrap();
    }
}

async fn serve(
    client: TcpStream,
    port: u16,
    rules: Option<watch::Receiver<Rule>>,
    holding: watch::Sender<bool>,
) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ((mut asked, mut client), (mut answers, mut server)) = (client.into_split(), server.into_split());
    let requests = async {
        let mut buffer = [0; 65_536];
        while let Ok(read @ 1..) = asked.read(&mut buffer).await {
            let (now, later) = match &rules {
                Some(rules) => judged(&buffer[..read], &rules.borrow()),
                None => (buffer[..read].to_vec(), Vec::new()),
            };
            if server.write_all(&now).await.is_err() {
                return;
            }
            if let Some(mut rules) = rules.clone().filter(|_| !later.is_empty()) {
                holding.send_replace(true);
                let _ = rules.wait_for(|rule| !matches!(rule, Rule::Hold(_))).await;
                if server.write_all(&later).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = requests => {}
        _ = copy(&mut answers, &mut client) => {}
    }
}

/// What is passed on at once, and what is held.
fn judged(bytes: &[u8], rule: &Rule) -> (Vec<u8>, Vec<u8>) {
    match rule {
        Rule::Pass => (bytes.to_vec(), Vec::new()),
        Rule::Swap(from, to) => (replaced(bytes, from, to), Vec::new()),
        Rule::Hold(part) => {
            let found = bytes.windows(part.len()).position(|window| window == part);
            let (now, later) = bytes.split_at(found.unwrap_or(bytes.len()));
            (now.to_vec(), later.to_vec())
        }
    }
}

/// Both are equally long, so that the lengths in front of them stay right.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len().saturating_sub(from.len() - 1) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}
