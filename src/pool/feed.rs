//! What is heard of one attempt, for whoever watches it: hints, never the truth.
//! It must not talk to any server.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::comfy::{ComfyEvent, NodeProgress};
use crate::domain::id::PromptId;
use crate::domain::progress::{Progress, ProgressTracker};
use crate::domain::time::UnixMillis;
use crate::lock::LockExt;

/// Blocked nodes of one attempt that are remembered.
pub const MOST_BLOCKED: usize = 100;

/// What was heard of one attempt so far.
#[derive(Debug)]
pub struct AttemptFeed {
    prompt_id: PromptId,
    /// Its place among those of its server.
    place: u64,
    heard: Mutex<RunReports>,
    ended: Notify,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct RunReports {
    progress: ProgressTracker,
    started_at: Option<UnixMillis>,
    last_at: Option<UnixMillis>,
    blocked: Vec<(String, String)>,
    ended: bool,
}

impl AttemptFeed {
    fn new(prompt_id: PromptId, place: u64, progress: ProgressTracker, clock: Arc<dyn Clock>) -> Self {
        let heard =
            RunReports { progress, started_at: None, last_at: None, blocked: Vec::new(), ended: false };
        Self { prompt_id, place, heard: Mutex::new(heard), ended: Notify::new(), clock }
    }

    /// The job's public id.
    #[must_use]
    pub const fn prompt_id(&self) -> PromptId {
        self.prompt_id
    }

    fn heard(&self) -> MutexGuard<'_, RunReports> {
        self.heard.lock_anyway()
    }

    /// The progress as last heard.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.heard().progress.snapshot()
    }

    /// When ComfyUI was heard to begin, or first seen to run it, by our clock.
    #[must_use]
    pub fn started_at(&self) -> Option<UnixMillis> {
        self.heard().started_at
    }

    /// When anything was last heard, by our clock.
    #[must_use]
    pub fn last_at(&self) -> Option<UnixMillis> {
        self.heard().last_at
    }

    /// Whether the end was heard.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.heard().ended
    }

    /// The nodes that were blocked from running with a message, by id, each with its message; at most
    /// [`MOST_BLOCKED`].
    #[must_use]
    pub fn blocked(&self) -> Vec<(String, String)> {
        self.heard().blocked.clone()
    }

    /// Returns once the end is heard, at once if it was before; hearing it is no proof of a history entry.
    pub async fn ended(&self) {
        loop {
            let notified = self.ended.notified();
            if self.has_ended() {
                return;
            }
            notified.await;
        }
    }

    /// The server's queue showed it running, which the websocket may have kept to itself.
    fn seen_running(&self) {
        let now = self.clock.now();
        self.heard().started_at.get_or_insert(now);
    }

    fn hear(&self, event: &ComfyEvent) {
        let now = self.clock.now();
        let ended = {
            let mut heard = self.heard();
            heard.last_at = Some(now);
            heard.take(event);
            if heard.started_at.is_none() && heard.progress.has_started() {
                heard.started_at = Some(now);
            }
            heard.ended
        };
        if ended {
            self.ended.notify_waiters();
        }
    }
}

impl RunReports {
    fn take(&mut self, event: &ComfyEvent) {
        match event {
            ComfyEvent::ExecutionStart { .. } => self.progress.started(),
            ComfyEvent::Cached { nodes, .. } => self.progress.cached(nodes.iter().map(String::as_str)),
            ComfyEvent::Executing { node: Some(node), .. } => self.progress.executing(node),
            ComfyEvent::Progress { node: Some(node), value, max, .. } => {
                self.progress.step(node, *value, *max);
            }
            ComfyEvent::ProgressState { nodes, .. } => nodes.iter().for_each(|node| self.take_node(node)),
            ComfyEvent::Executed { node, .. } => self.progress.finished(node),
            ComfyEvent::Blocked { error, .. } if self.blocked.len() < MOST_BLOCKED => {
                if let Some(node) = &error.node_id {
                    self.blocked.push((node.clone(), error.exception_message.clone()));
                }
            }
            ComfyEvent::Executing { node: None, .. }
            | ComfyEvent::Success { .. }
            | ComfyEvent::Error { .. }
            | ComfyEvent::Interrupted { .. } => self.ended = true,
            _ => {}
        }
    }

    fn take_node(&mut self, node: &NodeProgress) {
        match node.state.as_str() {
            "finished" => self.progress.finished(&node.node),
            // Every node has a `max` of 1 until it tells of steps of its own.
            "running" if node.max > 1.0 => {
                self.progress.step(node.display_node.as_deref().unwrap_or(&node.node), node.value, node.max);
            }
            _ => {}
        }
    }
}

/// The feeds of one server's attempts, by the id ComfyUI knows them as.
#[derive(Debug, Default)]
pub(super) struct AttemptFeeds(Mutex<OpenFeed>);

#[derive(Debug, Default)]
struct OpenFeed {
    feeds: HashMap<String, Arc<AttemptFeed>>,
    opened: u64,
}

impl AttemptFeeds {
    fn open_ones(&self) -> MutexGuard<'_, OpenFeed> {
        self.0.lock_anyway()
    }

    pub fn open(
        &self,
        attempt_id: &str,
        prompt_id: PromptId,
        progress: ProgressTracker,
        clock: Arc<dyn Clock>,
    ) -> Arc<AttemptFeed> {
        let mut open = self.open_ones();
        open.opened += 1;
        let feed = Arc::new(AttemptFeed::new(prompt_id, open.opened, progress, clock));
        open.feeds.insert(attempt_id.to_owned(), feed.clone());
        feed
    }

    pub fn close(&self, attempt_id: &str) {
        self.open_ones().feeds.remove(attempt_id);
    }

    pub fn len(&self) -> usize {
        self.open_ones().feeds.len()
    }

    /// The ids of the attempts.
    pub fn ids(&self) -> HashSet<String> {
        self.open_ones().feeds.keys().cloned().collect()
    }

    /// All of them, as they were opened.
    pub fn all(&self) -> Vec<Arc<AttemptFeed>> {
        let mut all: Vec<_> = self.open_ones().feeds.values().cloned().collect();
        all.sort_unstable_by_key(|feed| feed.place);
        all
    }

    /// The server's queue shows these running.
    pub fn seen_running(&self, ids: &[String]) {
        let open = self.open_ones();
        ids.iter().filter_map(|id| open.feeds.get(id)).for_each(|feed| feed.seen_running());
    }

    pub fn hear(&self, event: &ComfyEvent) {
        let feed = event.prompt_id().and_then(|id| self.open_ones().feeds.get(id).cloned());
        if let Some(feed) = feed {
            feed.hear(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::workflow::Workflow;

    fn feeds() -> (AttemptFeeds, Arc<AttemptFeed>) {
        let graph = r#"{"1":{"class_type":"A","inputs":{}},"2":{"class_type":"B","inputs":{}}}"#;
        let tracker = ProgressTracker::new(&Workflow::parse(graph).unwrap());
        let feeds = AttemptFeeds::default();
        let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(7)));
        let feed = feeds.open("x", prompt(1), tracker, clock);
        (feeds, feed)
    }

    fn prompt(millis: i64) -> PromptId {
        PromptId::from_parts(UnixMillis::from_millis(millis), [0; 10])
    }

    #[test]
    fn a_run_that_the_queue_shows_running_has_started_though_nothing_was_heard_of_it() {
        let (feeds, feed) = feeds();
        feeds.seen_running(&["y".to_owned()]);
        assert_eq!(feed.started_at(), None);
        feeds.seen_running(&["x".to_owned()]);
        assert_eq!((feed.started_at(), feed.last_at()), (Some(UnixMillis::from_millis(7)), None));
    }

    #[test]
    fn feeds_are_listed_as_they_were_opened() {
        let (feeds, _) = feeds();
        let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(7)));
        for (millis, id) in [(9, "c"), (2, "b"), (5, "a")] {
            let _feed = feeds.open(id, prompt(millis), ProgressTracker::default(), clock.clone());
        }
        feeds.close("b");
        let ids: Vec<PromptId> = feeds.all().iter().map(|feed| feed.prompt_id()).collect();
        assert_eq!((ids, feeds.len()), (vec![prompt(1), prompt(9), prompt(5)], 3));
        assert_eq!(feeds.ids(), ["x", "a", "c"].map(str::to_owned).into());
    }

    #[tokio::test]
    async fn a_feed_hears_only_of_its_own_attempt_and_wakes_at_its_end() {
        let (feeds, feed) = feeds();
        let hear = |text: &str| feeds.hear(&ComfyEvent::from_text(text));
        hear(r#"{"type":"execution_start","data":{"prompt_id":"y"}}"#);
        assert_eq!(feed.started_at(), None);
        hear(r#"{"type":"execution_start","data":{"prompt_id":"x"}}"#);
        assert_eq!(feed.started_at(), Some(UnixMillis::from_millis(7)));
        hear(
            r#"{"type":"progress_state","data":{"prompt_id":"x","nodes":{"1":{"node_id":"1","state":"finished","value":1.0,"max":1.0},
            "2":{"node_id":"2","state":"running","value":3,"max":4}}}}"#,
        );
        assert!((feed.progress().value - 0.875).abs() < 1e-9);
        let ended = feed.ended();
        tokio::pin!(ended);
        assert!(futures_util::poll!(&mut ended).is_pending());
        hear(r#"{"type":"executing","data":{"node":null,"prompt_id":"x"}}"#);
        ended.await;
        feed.ended().await;
    }

    #[test]
    fn a_closed_feed_hears_nothing() {
        let (feeds, feed) = feeds();
        feeds.close("x");
        feeds.hear(&ComfyEvent::from_text(r#"{"type":"execution_start","data":{"prompt_id":"x"}}"#));
        assert_eq!(feed.last_at(), None);
    }
}
