//! The child processes, as seen by the test.

use std::collections::HashMap;
use std::env;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command as Process};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::script::Stage;
use crate::wire::{Command, Event, Message, NODE, Op, Outcome, Settings};

/// How long a process may take until it is ready.
const STARTING: Duration = Duration::from_secs(20);

/// The state that is shared by the readers of all processes.
#[derive(Default)]
struct Hub {
    history: Mutex<Vec<Event>>,
    /// The channel of commands to each node.
    commands: Mutex<HashMap<usize, mpsc::UnboundedSender<Command>>>,
    lives: Mutex<usize>,
}

pub(crate) struct Nodes {
    hub: Arc<Hub>,
    running: Vec<Running>,
}

struct Running {
    settings: Settings,
    child: Child,
    reader: JoinHandle<()>,
}

impl Hub {
    fn send(&self, command: &Command, except: Option<usize>) {
        for (node, commands) in self.commands.lock().iter() {
            if Some(*node) != except {
                // A killed node receives nothing.
                let _ = commands.send(command.clone());
            }
        }
    }

    fn receive(&self, message: Message, node: usize, life: usize) {
        match message {
            Message::Ready => {}
            Message::Created { session, token } => self.send(&Command::Add { session, token }, Some(node)),
            Message::Event(mut event) => {
                event.life = life;
                if event.op == Op::End && event.outcome != Outcome::Begun {
                    self.send(&Command::Watch { session: event.session.clone() }, Some(node));
                }
                self.history.lock().push(event);
            }
        }
    }
}

impl Nodes {
    pub(crate) async fn start(stage: &Stage) -> Self {
        let hub = Arc::new(Hub::default());
        let mut running = Vec::new();
        for settings in stage.settings() {
            running.push(start(&hub, settings).await);
        }
        Self { hub, running }
    }

    /// Kills a node in the middle of its work, and starts it again.
    pub(crate) async fn replace(&mut self, node: usize) {
        let old = &mut self.running[node];
        old.child.kill().await.unwrap();
        // Reads the rest of its output.
        (&mut old.reader).await.unwrap();
        let settings = old.settings.clone();
        self.running[node] = start(&self.hub, settings).await;
    }

    /// Lets the nodes finish watching ended sessions, stops them, and returns their history.
    pub(crate) async fn stop(self) -> Vec<Event> {
        self.hub.send(&Command::Drain, None);
        tokio::time::sleep(crate::node::MAX_STALE + Duration::from_secs(1)).await;
        self.hub.send(&Command::Stop, None);
        for mut node in self.running {
            assert!(node.child.wait().await.unwrap().success());
            node.reader.await.unwrap();
        }
        std::mem::take(&mut *self.hub.history.lock())
    }
}

async fn start(hub: &Arc<Hub>, settings: Settings) -> Running {
    let mut child = Process::new(env::current_exe().unwrap())
        .args(["--exact", "node::node", "--nocapture"])
        .env(NODE, serde_json::to_string(&settings).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (sender, mut commands) = mpsc::unbounded_channel::<Command>();
    let mut stdin = child.stdin.take().unwrap();
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            let line = serde_json::to_string(&command).unwrap() + "\n";
            // The process may have been killed.
            if stdin.write_all(line.as_bytes()).await.is_err() {
                break;
            }
        }
    });
    let node = settings.node;
    let life = {
        let mut lives = hub.lives.lock();
        *lives += 1;
        *lives
    };
    let (ready, is_ready) = oneshot::channel();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let receiver = Arc::clone(hub);
    let reader = tokio::spawn(async move {
        let mut ready = Some(ready);
        while let Ok(Some(line)) = lines.next_line().await {
            // Skips the output of the test harness, and a half line that a killed process left.
            let Some(message) = line.find(['{', '"']).and_then(|at| serde_json::from_str(&line[at..]).ok())
            else {
                continue;
            };
            if matches!(message, Message::Ready)
                && let Some(ready) = ready.take()
            {
                let _ = ready.send(());
            }
            receiver.receive(message, node, life);
        }
    });
    tokio::time::timeout(STARTING, is_ready).await.expect("a node is ready in time").unwrap();
    hub.commands.lock().insert(node, sender);
    Running { settings, child, reader }
}
