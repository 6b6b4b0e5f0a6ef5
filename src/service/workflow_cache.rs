//! A cache of fetched workflows, so that an unchanged workflow is not downloaded again.

use std::sync::Mutex;

use indexmap::IndexMap;
use url::Url;

use crate::lock::LockExt;

/// The most workflows in the cache.
const REMEMBERED: usize = 32;

/// Fetched workflows by URL, each with its `ETag`. The oldest one is evicted when the cache is full.
#[derive(Debug, Default)]
pub(super) struct WorkflowCache(Mutex<IndexMap<Url, (String, String)>>);

impl WorkflowCache {
    /// The `ETag` and the text of a workflow that was fetched before.
    pub fn get(&self, url: &Url) -> Option<(String, String)> {
        self.0.lock_anyway().get(url).cloned()
    }

    /// Remembers a fetched workflow, as the newest one.
    pub fn keep(&self, url: &Url, etag: String, text: String) {
        let mut fetched = self.0.lock_anyway();
        fetched.shift_remove(url);
        if fetched.len() >= REMEMBERED {
            fetched.shift_remove_index(0);
        }
        fetched.insert(url.clone(), (etag, text));
    }
}
