//! The processes, as seen by the one that started them.

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
use crate::wire::{Command, Event, NODE, Op, Outcome, Said, Settings};

/// How long a process may take to say that it is ready.
const STARTING: Duration = Duration::from_secs(20);

/// What is heard of all of them.
#[derive(Default)]
struct Hub {
    history: Mutex<Vec<Event>>,
    /// Where each node is told something.
    ears: Mutex<HashMap<usize, mpsc::UnboundedSender<Command>>>,
    lives: Mutex<usize>,
}

pub(crate) struct Nodes {
    hub: Arc<Hub>,
    running: Vec<Running>,
}

struct Running {
    settings: Settings,
    child: Child,
    hearing: JoinHandle<()>,
}

impl Hub {
    fn tell(&self, command: &Command, but: Option<usize>) {
        for (node, ear) in self.ears.lock().iter() {
            if Some(*node) != but {
                // One that was killed hears nothing.
                let _ = ear.send(command.clone());
            }
        }
    }

    fn heard(&self, said: Said, node: usize, life: usize) {
        match said {
            Said::Ready => {}
            Said::Created { session, token } => self.tell(&Command::Add { session, token }, Some(node)),
            Said::Did(mut event) => {
                event.life = life;
                if event.op == Op::End && event.outcome != Outcome::Begun {
                    self.tell(&Command::Watch { session: event.session.clone() }, Some(node));
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

    /// Kills one in the middle of whatever it does, and starts it again.
    pub(crate) async fn replace(&mut self, node: usize) {
        let old = &mut self.running[node];
        old.child.kill().await.unwrap();
        // What it had said before is heard to the end.
        (&mut old.hearing).await.unwrap();
        let settings = old.settings.clone();
        self.running[node] = start(&self.hub, settings).await;
    }

    /// Lets them finish what they look at, ends them, and returns what they did.
    pub(crate) async fn stop(self) -> Vec<Event> {
        self.hub.tell(&Command::Rest, None);
        tokio::time::sleep(crate::node::MAX_STALE + Duration::from_secs(1)).await;
        self.hub.tell(&Command::Stop, None);
        for mut node in self.running {
            assert!(node.child.wait().await.unwrap().success());
            node.hearing.await.unwrap();
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
    let (ear, mut commands) = mpsc::unbounded_channel::<Command>();
    let mut stdin = child.stdin.take().unwrap();
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            let line = serde_json::to_string(&command).unwrap() + "\n";
            // It may have been killed.
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
    let listener = Arc::clone(hub);
    let hearing = tokio::spawn(async move {
        let mut ready = Some(ready);
        while let Ok(Some(line)) = lines.next_line().await {
            // What the test's own harness prints is none, and the last line of one that was killed may be half.
            let Some(said) = line.find(['{', '"']).and_then(|at| serde_json::from_str(&line[at..]).ok())
            else {
                continue;
            };
            if matches!(said, Said::Ready)
                && let Some(ready) = ready.take()
            {
                let _ = ready.send(());
            }
            listener.heard(said, node, life);
        }
    });
    tokio::time::timeout(STARTING, is_ready).await.expect("a node is ready in time").unwrap();
    hub.ears.lock().insert(node, ear);
    Running { settings, child, hearing }
}
