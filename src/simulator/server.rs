//! One life of the simulated process, from its start to its stop or crash, and the parts that outlive it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::NodeCache;
use super::config::{ComfyVersion, InstalledContent, SimulatorConfig};
use super::faults::FaultScript;
use super::files::ServerFolders;
use super::object_info::ListChoices;
use super::queue::{PromptQueue, QueuedPrompt};
use super::record::SharedRecord;
use super::run_log::{RunEvent, RunLog};
use super::ws::{OpenSockets, Recipient};
use crate::clock::Clock;
use crate::lock::LockExt;

/// The parts that survive a restart: the files, the script of faults, and the record.
#[derive(Debug)]
pub(super) struct PersistentWorld {
    pub(super) config: SimulatorConfig,
    /// The models and node packages installed at present.
    pub(super) installed: Mutex<Arc<InstalledContent>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) files: ServerFolders,
    pub(super) faults: FaultScript,
    pub(super) recorder: SharedRecord,
    pub(super) run_log: RunLog,
    pub(super) addr: SocketAddr,
    /// Reserves the port while nothing listens on it, so that connections are refused and a restart gets it
    /// back.
    pub(super) reserved: Mutex<Option<TcpSocket>>,
    releases: watch::Sender<HashMap<String, usize>>,
}

impl PersistentWorld {
    pub(super) fn new(config: SimulatorConfig, clock: Arc<dyn Clock>, addr: SocketAddr) -> io::Result<Self> {
        let files = ServerFolders::open(config.directory.as_deref())?;
        let run_log = RunLog::open(config.run_log.as_deref())?;
        Ok(Self {
            installed: Mutex::new(Arc::new(config.installed.clone())),
            config,
            clock,
            files,
            faults: FaultScript::new(),
            recorder: SharedRecord::new(),
            run_log,
            addr,
            reserved: Mutex::new(None),
            releases: watch::Sender::new(HashMap::new()),
        })
    }

    /// Releases one `SimHold` of this name, now or when it starts.
    pub(super) fn release(&self, name: &str) {
        self.releases.send_modify(|releases| *releases.entry(name.to_owned()).or_default() += 1);
    }

    /// Waits for a release of this name and uses it up.
    pub(super) async fn released(&self, name: &str) {
        let mut releases = self.releases.subscribe();
        loop {
            let mut got = false;
            self.releases.send_if_modified(|releases| {
                if let Some(left) = releases.get_mut(name).filter(|left| **left > 0) {
                    *left -= 1;
                    got = true;
                }
                false
            });
            if got || releases.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) fn choices(&self) -> ListChoices<'_> {
        ListChoices { installed: Arc::clone(&self.installed.lock_anyway()), files: &self.files }
    }

    /// The body of `GET /features`.
    pub(super) fn features(&self) -> Value {
        match self.config.version {
            ComfyVersion::V0_3_64 => {
                json!({ "supports_preview_metadata": true, "max_upload_size": 104_857_600 })
            }
            ComfyVersion::V0_24_0 => json!({
                "supports_preview_metadata": true, "max_upload_size": 104_857_600,
                "extension": { "manager": { "supports_v4": true } }, "node_replacements": true, "assets": false,
            }),
        }
    }
}

/// One life. Everything in it is lost when it ends.
#[derive(Debug)]
pub(super) struct ServerLife {
    pub(super) world: Arc<PersistentWorld>,
    pub(super) queue: PromptQueue,
    pub(super) sockets: OpenSockets,
    pub(super) cache: NodeCache,
    /// Part of the names of temporary files, different in each life.
    pub(super) temp_tag: String,
    /// Cancelled when this life ends for any reason.
    pub(super) end: CancellationToken,
    /// Cancelled for a graceful stop.
    pub(super) closing: CancellationToken,
    pub(super) tasks: TaskTracker,
    interrupt: watch::Sender<bool>,
    running: Mutex<Option<(String, String)>>,
}

impl ServerLife {
    /// A life that is not served yet.
    pub(super) fn new(world: Arc<PersistentWorld>, sockets: OpenSockets) -> Self {
        let letters = uuid::Uuid::new_v4().simple().to_string();
        Self {
            world,
            queue: PromptQueue::default(),
            sockets,
            cache: NodeCache::default(),
            temp_tag: letters.chars().take(5).map(|digit| char::from(b'a' + digit as u8 % 26)).collect(),
            end: CancellationToken::new(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            interrupt: watch::Sender::new(false),
            running: Mutex::new(None),
        }
    }

    /// Crashes as the process would: never returns, and its caller ends with this life.
    pub(super) async fn crash(&self) {
        self.world.run_log.down(self.world.clock.now().as_millis());
        self.end.cancel();
        std::future::pending::<()>().await;
    }

    /// Reports the length of the queue to everyone.
    pub(super) fn tell_status(&self) {
        self.sockets.send(Recipient::Everybody, "status", &self.status());
    }

    pub(super) fn status(&self) -> Value {
        json!({ "status": { "exec_info": { "queue_remaining": self.queue.remaining() } } })
    }

    /// Remembers the running node of a client, for a client that reconnects.
    pub(super) fn now_running(&self, client: Option<&str>, node: Option<&str>) {
        *self.running.lock_anyway() =
            client.zip(node).map(|(client, node)| (client.to_owned(), node.to_owned()));
    }

    /// The running node of this client.
    pub(super) fn running_for(&self, client: &str) -> Option<String> {
        self.running.lock_anyway().as_ref().filter(|(of, _)| of == client).map(|(_, node)| node.clone())
    }

    /// Records an event of a run.
    pub(super) fn happened(&self, job: &QueuedPrompt, happened: RunEvent) {
        self.world.run_log.note(self.world.clock.now().as_millis(), job, happened);
    }

    pub(super) fn interrupt(&self) {
        self.interrupt.send_replace(true);
    }

    pub(super) fn reset_interrupt(&self) {
        self.interrupt.send_replace(false);
    }

    pub(super) fn is_interrupted(&self) -> bool {
        *self.interrupt.borrow()
    }

    pub(super) async fn interrupted(&self) {
        let mut interrupt = self.interrupt.subscribe();
        let _set = interrupt.wait_for(|set| *set).await;
    }
}
