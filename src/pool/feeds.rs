//! The feeds of all attempts on one backend, and the delivery of events to them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::feed::AttemptFeed;
use crate::clock::Clock;
use crate::comfy::ComfyEvent;
use crate::domain::id::{AttemptId, PromptId};
use crate::domain::progress::ProgressTracker;
use crate::lock::LockExt;

/// The open feeds of one backend. An attempt's feed is open from before its submission until the attempt ends.
#[derive(Debug)]
pub struct AttemptFeeds {
    open: Mutex<OpenFeeds>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct OpenFeeds {
    /// The feeds by the id under which ComfyUI knows the attempt, each with its place in the order of opening.
    by_id: HashMap<String, (u64, Arc<AttemptFeed>)>,
    opened: u64,
}

impl AttemptFeeds {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { open: Mutex::default(), clock }
    }

    /// Opens the feed of an attempt. Open it before the submission, or early events are lost.
    pub fn open(
        &self,
        attempt: AttemptId,
        prompt_id: PromptId,
        progress: ProgressTracker,
    ) -> Arc<AttemptFeed> {
        let mut open = self.open_feeds();
        open.opened += 1;
        let feed = Arc::new(AttemptFeed::new(prompt_id, progress, self.clock.clone()));
        let place = open.opened;
        open.by_id.insert(attempt.to_string(), (place, feed.clone()));
        feed
    }

    /// Closes the feed of an attempt. It receives no further events.
    pub fn close(&self, attempt: AttemptId) {
        self.open_feeds().by_id.remove(&attempt.to_string());
    }

    /// The number of open feeds, which is the number of our attempts on the backend.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open_feeds().by_id.len()
    }

    /// The open feeds in the order in which they were opened.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<AttemptFeed>> {
        let mut all: Vec<_> = self.open_feeds().by_id.values().cloned().collect();
        all.sort_unstable_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, feed)| feed).collect()
    }

    /// The ids under which ComfyUI knows the attempts.
    pub(super) fn ids(&self) -> HashSet<String> {
        self.open_feeds().by_id.keys().cloned().collect()
    }

    /// Records that the queue lists `ids` as running.
    pub(super) fn mark_running(&self, ids: &[String]) {
        let open = self.open_feeds();
        ids.iter().filter_map(|id| open.by_id.get(id)).for_each(|(_, feed)| feed.mark_running());
    }

    /// Delivers an event to the attempt that it is about; an event about any other job is dropped.
    pub(super) fn deliver(&self, event: &ComfyEvent) {
        let feed = event.prompt_id().and_then(|id| self.open_feeds().by_id.get(id).cloned());
        if let Some((_, feed)) = feed {
            feed.record(event);
        }
    }

    fn open_feeds(&self) -> MutexGuard<'_, OpenFeeds> {
        self.open.lock_anyway()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::UnixMillis;
    use crate::domain::workflow::Workflow;

    const NOW: UnixMillis = UnixMillis::from_millis(7);

    fn attempt(number: u8) -> AttemptId {
        AttemptId::from_random([number; 16])
    }

    fn prompt(millis: i64) -> PromptId {
        PromptId::from_parts(UnixMillis::from_millis(millis), [0; 10])
    }

    /// Feeds of which that of attempt 1 is open.
    fn feeds() -> (AttemptFeeds, Arc<AttemptFeed>) {
        let graph = r#"{"1":{"class_type":"A","inputs":{}},"2":{"class_type":"B","inputs":{}}}"#;
        let tracker = ProgressTracker::new(&Workflow::parse(graph).unwrap());
        let feeds = AttemptFeeds::new(Arc::new(ManualClock::new(NOW)));
        let feed = feeds.open(attempt(1), prompt(1), tracker);
        (feeds, feed)
    }

    fn deliver(feeds: &AttemptFeeds, to: u8, text: &str) {
        feeds.deliver(&ComfyEvent::from_text(&text.replace("ATTEMPT", &attempt(to).to_string())));
    }

    #[test]
    fn a_run_that_the_queue_shows_running_has_started_though_no_event_came() {
        let (feeds, feed) = feeds();
        feeds.mark_running(&[attempt(2).to_string()]);
        assert_eq!(feed.started_at(), None);
        feeds.mark_running(&[attempt(1).to_string()]);
        assert_eq!((feed.started_at(), feed.last_event_at()), (Some(NOW), None));
    }

    #[test]
    fn feeds_are_listed_as_they_were_opened() {
        let (feeds, _) = feeds();
        for (millis, number) in [(9, 4), (2, 3), (5, 2)] {
            let _feed = feeds.open(attempt(number), prompt(millis), ProgressTracker::default());
        }
        feeds.close(attempt(3));
        let ids: Vec<PromptId> = feeds.all().iter().map(|feed| feed.prompt_id()).collect();
        assert_eq!((ids, feeds.count()), (vec![prompt(1), prompt(9), prompt(5)], 3));
        assert_eq!(feeds.ids(), [1, 2, 4].map(|number| attempt(number).to_string()).into());
    }

    #[tokio::test]
    async fn a_feed_records_only_its_own_attempt_and_wakes_at_its_end() {
        let (feeds, feed) = feeds();
        let start = r#"{"type":"execution_start","data":{"prompt_id":"ATTEMPT"}}"#;
        deliver(&feeds, 2, start);
        assert_eq!(feed.started_at(), None);
        deliver(&feeds, 1, start);
        assert_eq!(feed.started_at(), Some(NOW));
        deliver(
            &feeds,
            1,
            r#"{"type":"progress_state","data":{"prompt_id":"ATTEMPT","nodes":{"1":{"node_id":"1","state":"finished","value":1.0,"max":1.0},
            "2":{"node_id":"2","state":"running","value":3,"max":4}}}}"#,
        );
        assert!((feed.progress().value - 0.875).abs() < 1e-9);
        let ended = feed.until_ended();
        tokio::pin!(ended);
        assert!(futures_util::poll!(&mut ended).is_pending());
        deliver(&feeds, 1, r#"{"type":"executing","data":{"node":null,"prompt_id":"ATTEMPT"}}"#);
        ended.await;
        feed.until_ended().await;
    }

    #[test]
    fn a_closed_feed_records_nothing() {
        let (feeds, feed) = feeds();
        feeds.close(attempt(1));
        deliver(&feeds, 1, r#"{"type":"execution_start","data":{"prompt_id":"ATTEMPT"}}"#);
        assert_eq!(feed.last_event_at(), None);
    }
}
