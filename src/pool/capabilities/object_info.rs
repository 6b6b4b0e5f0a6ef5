//! The node classes and the version of one backend, read from ComfyUI and cached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::catalogue::{ClassCatalogue, ObjectInfoHash};
use crate::clock::Clock;
use crate::comfy::{ComfyClient, ComfyError};
use crate::domain::id::BackendName;
use crate::domain::object_info::ObjectInfo;
use crate::domain::time::UnixMillis;
use crate::lock::LockExt;

/// Everything that decides which workflows one backend can run.
#[derive(Debug)]
pub struct BackendCapabilities {
    name: BackendName,
    client: ComfyClient,
    clock: Arc<dyn Clock>,
    catalogue: Arc<ClassCatalogue>,
    version: Mutex<Option<String>>,
    known: Mutex<Option<KnownClasses>>,
    /// Whether the first request has ended, in success or failure.
    asked: AtomicBool,
    /// Held during a request, so that concurrent callers share its answer.
    asking: tokio::sync::Mutex<()>,
}

/// The last answer of a backend.
#[derive(Debug, Clone)]
pub(super) struct KnownClasses {
    pub info: Arc<ObjectInfo>,
    /// Classes that ComfyUI replaces by others if they are missing.
    pub replaced: Arc<[String]>,
    hash: ObjectInfoHash,
    asked_at: UnixMillis,
}

impl BackendCapabilities {
    pub(in crate::pool) fn new(
        name: BackendName,
        client: ComfyClient,
        clock: Arc<dyn Clock>,
        catalogue: Arc<ClassCatalogue>,
    ) -> Self {
        Self {
            name,
            client,
            clock,
            catalogue,
            version: Mutex::default(),
            known: Mutex::default(),
            asked: AtomicBool::new(false),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// The version of ComfyUI; `None` until it was reported, or if it is not reported.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.version.lock_anyway().clone()
    }

    pub(in crate::pool) fn set_version(&self, version: Option<String>) {
        *self.version.lock_anyway() = version;
    }

    /// The node classes of the last answer; `None` before the first. They stay while the backend is down.
    #[must_use]
    pub fn object_info(&self) -> Option<Arc<ObjectInfo>> {
        self.known().map(|known| known.info)
    }

    /// Whether a request for the node classes has ended at least once, in success or failure.
    #[must_use]
    pub fn has_been_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Returns node classes that are younger than `age`, and requests them from the backend if necessary.
    ///
    /// # Errors
    /// The request fails, or the answer does not describe node classes.
    pub async fn refresh(&self, age: Duration) -> Result<Arc<ObjectInfo>, ComfyError> {
        let is_fresh = |known: &KnownClasses| self.clock.now().since(known.asked_at) < age;
        if let Some(known) = self.known().filter(is_fresh) {
            return Ok(known.info);
        }
        let waited_from = self.clock.now();
        let _asking = self.asking.lock().await;
        // Another caller may have got an answer while this one waited.
        if let Some(known) = self.known().filter(|known| known.asked_at > waited_from || is_fresh(known)) {
            return Ok(known.info);
        }
        let answer = self.request().await;
        // The answer is stored before this flag is set, because readers of the flag rely on the stored classes.
        self.asked.store(true, Ordering::Relaxed);
        answer
    }

    pub(super) fn known(&self) -> Option<KnownClasses> {
        self.known.lock_anyway().clone()
    }

    async fn request(&self) -> Result<Arc<ObjectInfo>, ComfyError> {
        let asked_at = self.clock.now();
        let body = self.client.object_info().await?;
        let hash: ObjectInfoHash = Sha256::digest(body.get()).into();
        let before = self.known();
        let info = match before.as_ref().filter(|known| known.hash == hash) {
            Some(known) => known.info.clone(),
            None => match self.catalogue.find(&hash) {
                Some(info) => info,
                None => self.parse(body, hash).await?,
            },
        };
        let replaced = match (self.client.node_replacements().await, &before) {
            (Ok(replaced), _) => replaced.into(),
            (Err(_), Some(before)) => before.replaced.clone(),
            (Err(_), None) => Arc::default(),
        };
        // No job was kept from a backend with unknown classes, so its first answer is no change.
        let changed = before.is_some_and(|known| known.hash != hash);
        let known = KnownClasses { info: info.clone(), replaced, hash, asked_at };
        *self.known.lock_anyway() = Some(known);
        if changed {
            tracing::debug!(backend = %self.name, classes = info.len(), "the node classes of the backend have changed");
            self.catalogue.announce_change();
        }
        Ok(info)
    }

    /// Parses megabytes of JSON on a thread where that blocks no other task.
    async fn parse(&self, body: Box<RawValue>, hash: ObjectInfoHash) -> Result<Arc<ObjectInfo>, ComfyError> {
        let parsed = tokio::task::spawn_blocking(move || ObjectInfo::parse(body.get()));
        let info = match parsed.await {
            Ok(Ok(info)) => Arc::new(info),
            Ok(Err(error)) => return Err(self.client.not_object_info(&error)),
            Err(error) => return Err(self.client.not_object_info(&error)),
        };
        self.catalogue.share(hash, &info);
        Ok(info)
    }
}
