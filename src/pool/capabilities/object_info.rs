//! What each server can run, as its `/object_info` tells. It must not judge any workflow by it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::comfy::ComfyError;
use crate::domain::object_info::ObjectInfo;
use crate::domain::time::UnixMillis;
use crate::lock::LockExt;
use crate::pool::backend::Backend;
use crate::pool::capabilities::catalogue::ObjectInfoHash;

/// What one server can run.
#[derive(Debug, Default)]
pub(in crate::pool) struct BackendCapabilities {
    known: Mutex<Option<KnownClasses>>,
    /// Whether it was asked at least once, whatever it answered.
    asked: AtomicBool,
    /// One question at a time: who comes meanwhile takes its answer.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
pub(in crate::pool) struct KnownClasses {
    pub info: Arc<ObjectInfo>,
    /// Classes that the server itself replaces by others when they are missing.
    pub replaced: Arc<[String]>,
    hash: ObjectInfoHash,
    asked_at: UnixMillis,
}

impl BackendCapabilities {
    fn get(&self) -> Option<KnownClasses> {
        self.known.lock_anyway().clone()
    }

    fn set(&self, known: KnownClasses) {
        *self.known.lock_anyway() = Some(known);
    }
}

impl Backend {
    pub(in crate::pool) fn capabilities(&self) -> Option<KnownClasses> {
        self.capabilities.get()
    }

    /// Its node classes, as last heard; `None` until it was heard once. They stay while it is down.
    #[must_use]
    pub fn object_info(&self) -> Option<Arc<ObjectInfo>> {
        self.capabilities.get().map(|known| known.info)
    }

    /// Whether it was asked for its node classes at least once, and answered or failed to.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.capabilities.asked.load(Ordering::Relaxed)
    }

    /// Its node classes, not older than `age`: it is asked if need be.
    ///
    /// # Errors
    /// It does not answer, or not as ComfyUI does.
    pub async fn refresh_object_info(&self, age: Duration) -> Result<Arc<ObjectInfo>, ComfyError> {
        let fresh = |known: &KnownClasses| self.clock().now().since(known.asked_at) < age;
        if let Some(known) = self.capabilities.get().filter(fresh) {
            return Ok(known.info);
        }
        let waited_from = self.clock().now();
        let _asking = self.capabilities.asking.lock().await;
        // Somebody else may have asked in the meantime.
        if let Some(known) =
            self.capabilities.get().filter(|known| known.asked_at > waited_from || fresh(known))
        {
            return Ok(known.info);
        }
        let answer = self.ask().await;
        // Not before the answer is kept: whoever sees this goes by what is known.
        self.capabilities.asked.store(true, Ordering::Relaxed);
        answer
    }

    async fn ask(&self) -> Result<Arc<ObjectInfo>, ComfyError> {
        let asked_at = self.clock().now();
        let body = self.client().object_info().await?;
        let hash: ObjectInfoHash = Sha256::digest(body.get()).into();
        let before = self.capabilities.get();
        let info = match before.as_ref().filter(|known| known.hash == hash) {
            Some(known) => known.info.clone(),
            None => match self.catalogue().known(&hash) {
                Some(info) => info,
                None => self.read(body, hash).await?,
            },
        };
        let replaced = match (self.client().node_replacements().await, &before) {
            (Ok(replaced), _) => replaced.into(),
            (Err(_), Some(before)) => before.replaced.clone(),
            (Err(_), None) => Arc::default(),
        };
        // What was not known was held against nothing, so the first answer changes nothing.
        let changed = before.is_some_and(|known| known.hash != hash);
        self.capabilities.set(KnownClasses { info: info.clone(), replaced, hash, asked_at });
        if changed {
            tracing::debug!(backend = %self.name(), classes = info.len(), "what the server can run has changed");
            self.catalogue().has_changed();
        }
        Ok(info)
    }

    /// Reads megabytes of JSON where it holds nobody up.
    async fn read(
        &self,
        body: Box<serde_json::value::RawValue>,
        hash: ObjectInfoHash,
    ) -> Result<Arc<ObjectInfo>, ComfyError> {
        let read = tokio::task::spawn_blocking(move || ObjectInfo::parse(body.get()));
        let info = match read.await {
            Ok(Ok(info)) => Arc::new(info),
            Ok(Err(error)) => return Err(self.client().not_object_info(&error)),
            Err(error) => return Err(self.client().not_object_info(&error)),
        };
        self.catalogue().share(hash, &info);
        Ok(info)
    }
}
