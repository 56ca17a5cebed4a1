//! A headless Chromium, driven over its DevTools protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>). Supports only what a user does on a
//! page.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
];

/// Time limit of every operation.
const PATIENCE: Duration = Duration::from_secs(60);

/// Finds an installed Chromium.
pub(crate) fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|candidate| candidate.is_file())
}

/// A browser with one page.
pub(crate) struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    page: String,
    last_id: u64,
    process: Child,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn start(program: &Path) -> Self {
        let profile = TempDir::new().unwrap();
        let process = Command::new(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            // Chromium's temporary files are deleted with the profile.
            .env("TMPDIR", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let endpoint = endpoint(profile.path()).await;
        let (socket, _) = connect_async(&endpoint).await.unwrap();
        let mut browser = Self { socket, page: String::new(), last_id: 0, process, _profile: profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await;
        attached["sessionId"].as_str().unwrap().clone_into(&mut browser.page);
        browser.look(1200, false).await;
        browser
    }

    /// Closes the browser and waits for all of its processes, so that none writes into the profile
    /// while it is deleted.
    pub(crate) async fn close(mut self) {
        // The browser may exit before it answers.
        let close = json!({"id": self.last_id + 1, "method": "Browser.close"});
        self.socket.send(Message::text(close.to_string())).await.unwrap();
        tokio::time::timeout(PATIENCE, self.process.wait()).await.unwrap().unwrap();
    }

    /// Sends a command, which must succeed, and waits for its answer.
    async fn call(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(method, params).await;
        assert_eq!(answer.get("error"), None, "{method}");
        answer["result"].take()
    }

    /// Sends a command and waits for its answer, which may be an error.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if !self.page.is_empty() {
            message["sessionId"] = json!(self.page);
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        let id = self.last_id;
        let answer = async {
            loop {
                let Message::Text(text) = self.socket.next().await.unwrap().unwrap() else { continue };
                let answer: Value = serde_json::from_str(&text).unwrap();
                if answer["id"] == id {
                    return answer;
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{method} was not answered"))
    }

    /// Evaluates a JavaScript expression in the page. Returns `null` during a navigation.
    pub(crate) async fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        self.ask("Runtime.evaluate", params).await["result"]["result"]["value"].take()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let begin = Instant::now();
            while self.eval(expression).await != true {
                if begin.elapsed() > PATIENCE {
                    let text = self.text().await;
                    panic!("{caller}: never true: {expression}\nthe page shows: {text}");
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
    }

    pub(crate) async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'").await;
    }

    /// Returns the visible text of the page.
    pub(crate) async fn text(&mut self) -> String {
        self.eval("document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks the middle of an element.
    pub(crate) async fn click(&mut self, selector: &str) {
        let visible = format!("document.querySelector({selector:?})?.checkVisibility() === true");
        self.until(&visible).await;
        let middle = self
            .eval(&format!(
                "(() => {{ const it = document.querySelector({selector:?}); it.scrollIntoView({{block: 'center'}});
                 const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
            ))
            .await;
        for kind in ["mousePressed", "mouseReleased"] {
            let params =
                json!({"type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", params).await;
        }
    }

    /// Clicks an element that leads to another page, and waits for that page.
    pub(crate) async fn follow(&mut self, selector: &str) {
        self.eval("window.left = true").await;
        self.click(selector).await;
        self.until("window.left === undefined && document.readyState === 'complete'").await;
    }

    /// Types into a field.
    pub(crate) async fn type_into(&mut self, selector: &str, text: &str) {
        self.click(selector).await;
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Presses Enter in the focused field, and waits for the next page.
    pub(crate) async fn enter(&mut self) {
        self.eval("window.left = true").await;
        for kind in ["keyDown", "keyUp"] {
            let params = json!({"type": kind, "key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13});
            self.call("Input.dispatchKeyEvent", params).await;
        }
        self.until("window.left === undefined && document.readyState === 'complete'").await;
    }

    /// Sets the window's width and the colour scheme.
    pub(crate) async fn look(&mut self, width: u32, dark: bool) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if dark { "dark" } else { "light" };
        // Without motion, because a screenshot could catch a colour transition.
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Saves a screenshot of the whole page.
    pub(crate) async fn picture(&mut self, file: &Path) {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", params).await;
        let png = data_encoding::BASE64.decode(picture["data"].as_str().unwrap().as_bytes()).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 5_000);
        std::fs::write(file, png).unwrap();
    }
}

/// Waits for the file in which Chromium writes its endpoint: the port, and the path on the next
/// line.
async fn endpoint(profile: &Path) -> String {
    let begin = Instant::now();
    loop {
        let text = std::fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
        if let [port, path] = text.lines().collect::<Vec<_>>()[..] {
            return format!("ws://127.0.0.1:{port}{path}");
        }
        assert!(begin.elapsed() < PATIENCE, "Chromium did not write its endpoint");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
