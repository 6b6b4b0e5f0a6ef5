//! A ComfyUI without a GPU: for the `simulate` command, the demo, and as the fake of every test.
//!
//! It has the routes, messages, order and quirks of a real server, as recorded from 0.24.0 and 0.3.64, and
//! makes real PNG, WAV and text outputs. Tests script its misfortunes with [`FaultScript`] and wait on what
//! it has seen with [`Simulator::until`], so that no test sleeps. One life of the server is `server`; what
//! outlives a crash is `PersistentWorld` beside it.

mod answers;
mod cache;
mod classes;
mod coerce;
mod config;
mod control;
mod execute;
mod faults;
mod files;
mod files_api;
mod guard;
mod jobs;
mod media;
mod net;
mod nodes;
mod object_info;
mod order;
mod prompt;
mod pyjson;
mod queue;
mod record;
mod replacements;
mod report;
mod routes;
mod run_log;
mod server;
mod start;
mod validate;
mod ws;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::extract::ws::Message;
use serde_json::json;
use tokio::net::TcpListener;

pub use self::config::{ComfyVersion, InstalledContent, SimulatorConfig};
pub use self::faults::{FaultRoute, FaultScript, RequestFault};
pub use self::record::{RunCount, SeenRequest, ServerRecord};

use self::files::FolderKind;
use self::server::{PersistentWorld, ServerLife};
use self::ws::Recipient;
use crate::clock::{Clock, SystemClock};
use crate::lock::LockExt;

/// A running simulated server. Dropping it ends it as [`Simulator::crash`] does.
#[derive(Debug)]
pub struct Simulator {
    world: Arc<PersistentWorld>,
    life: Mutex<Arc<ServerLife>>,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.life().end.cancel();
    }
}

impl Simulator {
    /// Starts on a listener that is already bound. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the listener has no address, or the directories cannot be made.
    pub fn start(listener: TcpListener, config: SimulatorConfig, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let world = Arc::new(PersistentWorld::new(config, clock, listener.local_addr()?)?);
        let life = Mutex::new(start::start(Arc::clone(&world), listener));
        Ok(Self { world, life })
    }

    /// Starts on a free port of this machine, with the system's clock.
    ///
    /// # Errors
    /// As [`Simulator::start`], or when no port can be had.
    pub async fn start_local(config: SimulatorConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        Self::start(listener, config, Arc::new(SystemClock))
    }

    fn life(&self) -> Arc<ServerLife> {
        Arc::clone(&self.life.lock_anyway())
    }

    /// Where it listens; the same over restarts.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.world.addr
    }

    /// The base URL, with the prefix, without a slash at the end: `http://127.0.0.1:8188`.
    #[must_use]
    pub fn url(&self) -> String {
        let prefix = self.world.config.prefix.as_deref().unwrap_or_default().trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("http://{}{slash}{prefix}", self.world.addr)
    }

    /// Stops in good order: what is being answered is answered, websockets are closed, the running job is lost.
    pub async fn stop(&self) {
        let life = self.life();
        life.closing.cancel();
        Self::ended(&life).await;
        life.end.cancel();
    }

    /// Dies at once: all connections break, the port refuses.
    pub async fn crash(&self) {
        let life = self.life();
        life.end.cancel();
        Self::ended(&life).await;
    }

    /// Waits until a crash that a job or fault brings about is complete: the port refuses.
    pub async fn crashed(&self) {
        let life = self.life();
        life.end.cancelled().await;
        Self::ended(&life).await;
    }

    async fn ended(life: &ServerLife) {
        life.tasks.close();
        life.tasks.wait().await;
        life.world.recorder.until(|record| record.open_sockets == 0).await;
        life.world.recorder.note(|record| record.alive = false);
    }

    /// Starts again on the same port, ending the present life first if need be. Queue, history, cache and temporary
    /// files are lost; output and input files, the script of faults and the record stay.
    ///
    /// # Errors
    /// When the port cannot be listened on again, or the temporary files not be removed.
    pub async fn restart(&self) -> io::Result<()> {
        self.crash().await;
        self.world.files.clear_temp()?;
        let reserved = self.world.reserved.lock_anyway().take();
        let reserved = reserved.ok_or_else(|| io::Error::other("the port could not be kept"))?;
        *self.life.lock_anyway() = start::start(Arc::clone(&self.world), reserved.listen(1_024)?);
        Ok(())
    }

    /// The script of what goes wrong.
    #[must_use]
    pub fn faults(&self) -> &FaultScript {
        &self.world.faults
    }

    /// How often this job went through the server, over all restarts.
    #[must_use]
    pub fn runs(&self, prompt_id: &str) -> RunCount {
        self.world.recorder.read(|record| record.runs(prompt_id))
    }

    /// All prompts that were ever queued, with how often each ran, in no order.
    #[must_use]
    pub fn all_runs(&self) -> Vec<(String, RunCount)> {
        self.world.recorder.read(|record| record.runs.iter().map(|(id, runs)| (id.clone(), *runs)).collect())
    }

    /// The requests for `route` so far, oldest first; for [`FaultRoute::All`] those of every route. At most
    /// the last 4,096 of all.
    #[must_use]
    pub fn requests(&self, route: FaultRoute) -> Vec<SeenRequest> {
        let wanted = |request: &&SeenRequest| route == FaultRoute::All || request.route == route;
        self.world.recorder.read(|record| record.requests.iter().filter(wanted).cloned().collect())
    }

    /// Waits until what was seen meets the condition.
    pub async fn until(&self, condition: impl FnMut(&ServerRecord) -> bool) {
        self.world.recorder.until(condition).await;
    }

    /// Waits until the job was put into the queue.
    pub async fn queued(&self, prompt_id: &str) {
        self.until(|record| record.runs(prompt_id).queued > 0).await;
    }

    /// Waits until the job was begun.
    pub async fn started(&self, prompt_id: &str) {
        self.until(|record| record.runs(prompt_id).started > 0).await;
    }

    /// Waits until the job has a history entry.
    pub async fn finished(&self, prompt_id: &str) {
        self.until(|record| record.runs(prompt_id).finished() > 0).await;
    }

    /// Waits until a websocket with this clientId has been opened.
    pub async fn ws_connected(&self, client_id: &str) {
        self.until(|record| record.connections(client_id) > 0).await;
    }

    /// Waits until a `SimHold` node of this name holds its job.
    pub async fn holding(&self, name: &str) {
        self.until(|record| record.is_holding(name)).await;
    }

    /// Lets one `SimHold` node of this name go on: the one that waits, else the next that comes.
    pub fn release(&self, name: &str) {
        self.world.release(name);
    }

    /// Makes every trace of a job vanish from queue and history; if it runs, it ends without a word.
    pub fn forget(&self, prompt_id: &str) {
        self.life().queue.forget(prompt_id);
    }

    /// Changes what the server has. As with ComfyUI, a model is there at once; classes are too, for which a
    /// real server has to be started again.
    pub fn install(&self, change: impl FnOnce(&mut InstalledContent)) {
        change(Arc::make_mut(&mut self.world.installed.lock_anyway()));
    }

    /// Breaks every websocket without a closing frame.
    pub fn drop_websockets(&self) {
        self.life().sockets.drop_all();
    }

    /// Leaves every websocket open, and sends nothing to it any more.
    pub fn deafen_websockets(&self) {
        self.life().sockets.deafen_all();
    }

    /// Sends this text to every websocket as it stands, JSON or not.
    pub fn send_text(&self, text: impl Into<String>) {
        self.life().sockets.send_raw(Recipient::Everybody, Message::Text(text.into().into()));
    }

    /// Sends every websocket one message of an unknown type with `bytes` bytes in it.
    pub fn send_huge(&self, bytes: usize) {
        let message = json!({ "type": "simulator_huge", "data": { "padding": "x".repeat(bytes) } });
        self.send_text(message.to_string());
    }

    /// The directory of the output files, to look at or to delete from.
    #[must_use]
    pub fn output_directory(&self) -> PathBuf {
        self.world.files.path(FolderKind::Output)
    }

    /// The directory of the input files.
    #[must_use]
    pub fn input_directory(&self) -> PathBuf {
        self.world.files.path(FolderKind::Input)
    }
}
