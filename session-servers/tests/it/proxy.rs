//! The proxy in front of an echo server.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use session_servers::{Fault, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// The timeout of expected bytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time within which unexpected bytes would have arrived.
const MOMENT: Duration = Duration::from_millis(150);

const POLL: Duration = Duration::from_millis(5);

/// An echo server behind a proxy, and the bytes that the server has received.
struct Echo {
    proxy: Proxy,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap().port()).await.unwrap();
        let received = Arc::default();
        let sink = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(echo(client, Arc::clone(&sink)));
            }
        });
        Self { proxy, received }
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.proxy.port())).await.unwrap()
    }

    /// Connects a client, and checks that it gets a reply.
    async fn served(&self) -> TcpStream {
        let mut client = self.client().await;
        assert_eq!(ask(&mut client, "hello").await, "hello");
        client
    }

    fn has_received(&self, request: &str) -> bool {
        String::from_utf8_lossy(&self.received.lock()).contains(request)
    }

    async fn until_received(&self, request: &str) {
        until(request, || self.has_received(request)).await;
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            sleep(POLL).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("timeout: {what}"));
}

async fn echo(mut client: TcpStream, received: Arc<Mutex<Vec<u8>>>) {
    let mut bytes = [0; 1024];
    while let Ok(read @ 1..) = client.read(&mut bytes).await {
        received.lock().extend(&bytes[..read]);
        if client.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Sends a request, and returns the reply, or how the connection ended.
async fn ask(client: &mut TcpStream, request: &str) -> String {
    match client.write_all(request.as_bytes()).await {
        Ok(()) => receive(client).await,
        Err(error) => error.kind().to_string(),
    }
}

async fn receive(client: &mut TcpStream) -> String {
    receive_within(PATIENCE, client).await
}

async fn is_silent(client: &mut TcpStream) -> bool {
    receive_within(MOMENT, client).await == "silence"
}

async fn receive_within(patience: Duration, client: &mut TcpStream) -> String {
    let mut bytes = [0; 1024];
    match timeout(patience, client.read(&mut bytes)).await {
        Err(_) => "silence".to_owned(),
        Ok(Ok(0)) => "end".to_owned(),
        Ok(Ok(read)) => String::from_utf8(bytes[..read].to_vec()).unwrap(),
        Ok(Err(error)) => error.kind().to_string(),
    }
}

#[tokio::test]
async fn unarmed_requests_pass() {
    let echo = Echo::start().await;
    let (mut one, mut other) = (echo.served().await, echo.served().await);
    echo.proxy.arm(Fault::After, b"x");
    assert_eq!((ask(&mut one, "a").await, ask(&mut other, "b").await), ("a".to_owned(), "b".to_owned()));
    assert_eq!((echo.proxy.accepted(), echo.proxy.met()), (2, 0));
}

#[tokio::test]
async fn end_of_a_server_reaches_the_client() {
    // The second socket does not listen. It reserves the port after the first one is closed.
    let sockets = [TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap()];
    sockets.iter().for_each(|socket| socket.set_reuseaddr(true).unwrap());
    let [server, keeper] = sockets;
    server.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    keeper.bind(server.local_addr().unwrap()).unwrap();
    let listener = server.listen(8).unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap().port()).await.unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    drop(listener.accept().await.unwrap());
    assert_eq!(receive(&mut client).await, "end");
    drop(listener);
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(receive(&mut client).await, "end", "the server no longer listens");
}

#[tokio::test]
async fn each_fault_acts_as_documented() {
    let reset = ErrorKind::ConnectionReset.to_string();
    let patience = |is_silent| if is_silent { MOMENT } else { PATIENCE };
    for (fault, first, then, is_received) in [
        (Fault::After, "end", "end", true),
        (Fault::Before, "end", "end", false),
        (Fault::IgnoreRequests, "request", "silence", true),
        (Fault::Half, "req", "end", true),
        (Fault::Hold, "re", "silence", false),
        (Fault::Hush, "silence", "silence", true),
        (Fault::Reset, &reset, "end", true),
        (Fault::SlowClose, "end", "end", true),
    ] {
        let echo = Echo::start().await;
        let (mut client, mut other) = (echo.served().await, echo.served().await);
        echo.proxy.arm(fault, b"quest");
        client.write_all(b"request").await.unwrap();
        if is_received {
            echo.until_received("request").await;
        }
        for expected in [first, then] {
            let received = receive_within(patience(expected == "silence"), &mut client).await;
            assert_eq!(received, expected, "{fault:?}");
        }
        assert_eq!((echo.has_received("request"), echo.proxy.met()), (is_received, 1), "{fault:?}");
        let is_open = matches!(fault, Fault::IgnoreRequests | Fault::Hold | Fault::Hush | Fault::SlowClose);
        let write = async {
            while client.write_all(b"more").await.is_ok() {
                sleep(POLL).await;
            }
        };
        let is_writable = timeout(patience(is_open), write).await.is_err();
        assert_eq!(is_writable, is_open, "{fault:?}");
        assert!(!echo.has_received("more"), "{fault:?}");
        // The fault affects neither other connections nor later requests.
        assert_eq!(ask(&mut other, "request").await, "request", "{fault:?}");
        echo.served().await;
    }
}

#[tokio::test]
async fn armed_fault_can_repeat() {
    let echo = Echo::start().await;
    echo.proxy.arm_each(Fault::After, b"again");
    for round in 1..=3 {
        let mut client = echo.served().await;
        assert_eq!((ask(&mut client, "again").await.as_str(), echo.proxy.met()), ("end", round));
    }
    echo.proxy.disarm();
    assert_eq!(ask(&mut echo.client().await, "again").await, "again");
    assert_eq!(echo.proxy.met(), 3);
    echo.proxy.arm(Fault::After, b"");
    assert_eq!(echo.proxy.met(), 0);
    assert_eq!(ask(&mut echo.client().await, "anything").await, "end");
}

#[tokio::test]
async fn held_request_is_forwarded_after_disarm() {
    let echo = Echo::start().await;
    let mut client = echo.client().await;
    // A `disarm` before the fault must not release the request.
    echo.proxy.disarm();
    echo.proxy.arm(Fault::Hold, b"that");
    assert_eq!(ask(&mut client, "this and that").await, "this and ");
    echo.proxy.until_met().await;
    client.write_all(b" and more").await.unwrap();
    assert!(is_silent(&mut client).await);
    echo.proxy.disarm();
    let mut rest = [0; 13];
    client.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"that and more");
}

#[tokio::test]
async fn edits_begin_with_the_triggering_request() {
    let echo = Echo::start().await;
    let mut client = echo.served().await;
    echo.proxy.edit_requests(b"shout", <[u8]>::to_ascii_uppercase);
    assert_eq!(ask(&mut client, "shout").await, "SHOUT");
    assert_eq!(ask(&mut client, "hello").await, "HELLO");
    let mut copies = [2, 1, 0].into_iter();
    echo.proxy.edit_replies(b"twice", move |bytes| bytes.repeat(copies.next().unwrap()));
    let mut client = echo.served().await;
    assert_eq!(ask(&mut client, "twice").await, "twicetwice");
    assert_eq!(ask(&mut client, "once").await, "once");
    client.write_all(b"never").await.unwrap();
    echo.until_received("twiceoncenever").await;
    assert!(is_silent(&mut client).await);
}

#[tokio::test]
async fn replies_can_be_delayed() {
    let echo = Echo::start().await;
    let mut client = echo.served().await;
    echo.proxy.delay(MOMENT * 2);
    let began = Instant::now();
    assert_eq!(ask(&mut client, "slow").await, "slow");
    assert!(began.elapsed() >= MOMENT * 2);
    echo.proxy.delay(Duration::ZERO);
    assert_eq!(ask(&mut client, "fast").await, "fast");
}

#[tokio::test]
async fn frozen_proxy_forwards_and_closes_nothing() {
    let echo = Echo::start().await;
    let (mut old, mut idle) = (echo.served().await, echo.served().await);
    echo.proxy.freeze();
    let mut new = echo.client().await;
    until("the new connection is accepted", || echo.proxy.accepted() == 3).await;
    for frozen in [&mut old, &mut new] {
        frozen.write_all(b"frozen").await.unwrap();
        assert!(is_silent(frozen).await);
    }
    echo.proxy.pass_new();
    for dead in [&mut old, &mut idle, &mut new] {
        dead.write_all(b"dead").await.unwrap();
        assert!(is_silent(dead).await);
    }
    assert!(!echo.has_received("frozen") && !echo.has_received("dead"));
    let mut alive = echo.served().await;
    echo.proxy.pass_new();
    assert_eq!(ask(&mut alive, "alive").await, "alive");
    echo.proxy.cut();
    assert_eq!(receive(&mut alive).await, "end");
    assert_ne!(receive(&mut old).await, "silence");
}

#[tokio::test]
async fn frozen_proxy_does_not_forward_a_close() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap().port()).await.unwrap();
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for _ in 0..2 {
        clients.push(TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap());
        servers.push(listener.accept().await.unwrap().0);
    }
    proxy.freeze();
    drop((clients.pop(), servers.remove(0)));
    assert!(is_silent(&mut clients[0]).await && is_silent(&mut servers[0]).await);
}

#[tokio::test]
async fn connections_can_be_cut_and_refused() {
    let echo = Echo::start().await;
    let mut client = echo.served().await;
    echo.proxy.cut();
    assert_eq!(receive(&mut client).await, "end");
    let mut client = echo.served().await;
    echo.proxy.refuse();
    assert_eq!(receive(&mut client).await, "end");
    assert_eq!(receive(&mut echo.client().await).await, "end");
    echo.proxy.pass_new();
    echo.served().await;
}

#[tokio::test]
async fn dropped_proxy_stops_listening() {
    // Another process may get the port at once, but not every time.
    for _ in 0..3 {
        let echo = Echo::start().await;
        let (mut client, port) = (echo.served().await, echo.proxy.port());
        drop(echo);
        assert_eq!(receive(&mut client).await, "end");
        if TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            return;
        }
    }
    panic!("the proxy still listens");
}

#[tokio::test]
async fn url_contains_the_port_of_the_proxy() {
    let proxy = Proxy::to(61_000).await.unwrap();
    let url = proxy.url("mongodb://me:secret@127.0.0.1:61000/sessions?directConnection=true");
    let port = proxy.port();
    assert_eq!(url, format!("mongodb://me:secret@127.0.0.1:{port}/sessions?directConnection=true"));
}

#[tokio::test]
#[should_panic(expected = "does not name port 61000")]
async fn url_of_another_server_panics() {
    let _url = Proxy::to(61_000).await.unwrap().url("redis://127.0.0.1:62000/");
}
