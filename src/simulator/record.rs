//! The record of what a simulator has received and done. It lasts over restarts, for assertions and for
//! waits.

use std::collections::{HashMap, HashSet, VecDeque};

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use tokio::sync::watch;

use super::faults::FaultRoute;

/// How many requests are kept.
const REQUESTS: usize = 4_096;
/// Bodies above this size in bytes are not kept.
pub(super) const BODY: usize = 256 << 10;

/// How often one `prompt_id` passed through this simulator, over all restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunCount {
    /// `POST /prompt` was taken.
    pub queued: u32,
    /// The worker began it.
    pub started: u32,
    /// It has a history entry with success.
    pub succeeded: u32,
    /// It has a history entry with an error or an interruption.
    pub failed: u32,
}

impl RunCount {
    /// How often it came to an end of any kind.
    #[must_use]
    pub const fn finished(self) -> u32 {
        self.succeeded + self.failed
    }
}

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// What it was for.
    pub route: FaultRoute,
    /// The method.
    pub method: Method,
    /// Path and query as sent, with prefix.
    pub uri: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, unless it was an upload or above 256 KiB: then empty.
    pub body: Bytes,
}

/// The whole record. Read it through [`super::Simulator::until`].
#[derive(Debug, Default)]
pub struct ServerRecord {
    pub(super) runs: HashMap<String, RunCount>,
    pub(super) requests: VecDeque<SeenRequest>,
    pub(super) counts: HashMap<FaultRoute, usize>,
    pub(super) connected: HashMap<String, usize>,
    pub(super) open_sockets: usize,
    pub(super) holding: HashSet<String>,
    pub(super) hanging: usize,
    pub(super) alive: bool,
}

impl ServerRecord {
    /// How often the job ran.
    #[must_use]
    pub fn runs(&self, prompt_id: &str) -> RunCount {
        self.runs.get(prompt_id).copied().unwrap_or_default()
    }

    /// How many requests came for the route.
    #[must_use]
    pub fn requests(&self, route: FaultRoute) -> usize {
        self.counts.get(&route).copied().unwrap_or_default()
    }

    /// How many websockets were ever opened with this clientId.
    #[must_use]
    pub fn connections(&self, client_id: &str) -> usize {
        self.connected.get(client_id).copied().unwrap_or_default()
    }

    /// How many websockets are open now.
    #[must_use]
    pub const fn open_sockets(&self) -> usize {
        self.open_sockets
    }

    /// How many requests hang now because of a [`super::RequestFault::Hang`] or a similar fault.
    #[must_use]
    pub const fn hanging(&self) -> usize {
        self.hanging
    }

    /// Whether a `SimHold` node of this name waits for its release.
    #[must_use]
    pub fn is_holding(&self, name: &str) -> bool {
        self.holding.contains(name)
    }

    /// Whether the simulator answers; false after a crash or a stop.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.alive
    }

    pub(super) fn saw(&mut self, request: SeenRequest) {
        *self.counts.entry(request.route).or_default() += 1;
        if self.requests.len() == REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    pub(super) fn run(&mut self, prompt_id: &str) -> &mut RunCount {
        self.runs.entry(prompt_id.to_owned()).or_default()
    }
}

/// The record with a signal: every change wakes all waiters.
#[derive(Debug)]
pub(super) struct SharedRecord(watch::Sender<ServerRecord>);

impl SharedRecord {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(ServerRecord::default()))
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut ServerRecord)) {
        self.0.send_modify(change);
    }

    /// Notes a state, and reverts it when the guard is dropped.
    pub(super) fn during<F: Fn(&mut ServerRecord)>(
        &self,
        begin: impl FnOnce(&mut ServerRecord),
        end: F,
    ) -> DuringGuard<'_, F> {
        self.note(begin);
        DuringGuard { recorder: self, end }
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&ServerRecord) -> T) -> T {
        look(&self.0.borrow())
    }

    pub(super) async fn until(&self, condition: impl FnMut(&ServerRecord) -> bool) {
        // The sender lives as long as `self`, so waiting can only end with the condition.
        let mut changes = self.0.subscribe();
        let _seen = changes.wait_for(condition).await;
    }
}

/// The guard of [`SharedRecord::during`].
pub(super) struct DuringGuard<'a, F: Fn(&mut ServerRecord)> {
    recorder: &'a SharedRecord,
    end: F,
}

impl<F: Fn(&mut ServerRecord)> Drop for DuringGuard<'_, F> {
    fn drop(&mut self) {
        self.recorder.note(&self.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_condition() {
        let recorder = SharedRecord::new();
        let wait = recorder.until(|record| record.runs("a").started == 2);
        tokio::pin!(wait);
        recorder.note(|record| record.run("a").started += 1);
        assert!(futures_util::poll!(&mut wait).is_pending());
        recorder.note(|record| record.run("a").started += 1);
        wait.await;
        assert_eq!(recorder.read(|record| record.runs("a").finished()), 0);
    }
}
