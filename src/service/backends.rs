//! Servers at run time: adding, removing, and what operators want of them. What is done is kept over restarts. It must
//! not know how a server is watched.

use std::sync::Arc;

use secrecy::ExposeSecret;
use url::Url;

use super::Service;
use crate::comfy::ComfyEndpoint;
use crate::domain::id::BackendName;
use crate::pool::{AddError, Backend, BackendMode, BackendSettings};
use crate::scheduler::SchedulerDeps;
use crate::store::{StoreError, StoredBackend};

/// Why servers were not changed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// There is none of that name.
    #[error("there is no server {0}")]
    Unknown(BackendName),
    /// It has the name or the address of another; which, in words for people.
    #[error("{0}")]
    Exists(String),
    /// Its address or credentials cannot be used; why, without any of them.
    #[error("{0}")]
    Unusable(String),
    /// It has jobs.
    #[error("the server {name} has {jobs} jobs; drain it and wait until it says `drained`")]
    Busy {
        /// Its name.
        name: BackendName,
        /// How many.
        jobs: usize,
    },
    /// It stands in the configuration.
    #[error("the server {0} is defined in the configuration: remove it there, or cordon it here")]
    Configured(BackendName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Service {
    /// The server of that name.
    ///
    /// # Errors
    /// [`BackendError::Unknown`].
    pub fn backend(&self, name: &BackendName) -> Result<Arc<Backend>, BackendError> {
        self.parts.pool.find(name).ok_or_else(|| BackendError::Unknown(name.clone()))
    }

    /// Adds a server: it is on disk when it gets its first job.
    ///
    /// # Errors
    /// See [`BackendError`]; nothing was changed.
    pub async fn add_backend(&self, backend: StoredBackend) -> Result<Arc<Backend>, BackendError> {
        let settings = settings(&backend).map_err(BackendError::Unusable)?;
        let present = self.parts.pool.backends();
        settings
            .check_clash(present.iter().map(|backend| backend.settings()))
            .map_err(|clash| BackendError::Exists(clash.to_string()))?;
        let name = backend.name.clone();
        if !self.parts.store.add_backend(backend).await? {
            return Err(BackendError::Exists(format!("the name `{name}` is taken by another server")));
        }
        match self.parts.pool.add(settings) {
            Ok(backend) => {
                tracing::info!(backend = %name, url = backend.client().shown_url(), "a server was added");
                Ok(backend)
            }
            Err(error) => {
                self.parts.store.delete_backend(&name).await?;
                Err(error.into())
            }
        }
    }

    /// Forgets a server that was added at run time and has no jobs.
    ///
    /// # Errors
    /// See [`BackendError`]; nothing was changed.
    pub async fn remove_backend(&self, name: &BackendName) -> Result<(), BackendError> {
        let backend = self.backend(name)?;
        if backend.is_configured() {
            return Err(BackendError::Configured(name.clone()));
        }
        // Looked at before and after: what was given to it in between is seen, and nothing more comes then.
        has_no_jobs(&backend)?;
        let mode = backend.mode();
        backend.set_mode(BackendMode::Cordoned);
        let removed = match has_no_jobs(&backend) {
            Ok(()) => self.parts.store.delete_backend(name).await.map_err(BackendError::from),
            Err(busy) => Err(busy),
        };
        if let Err(error) = removed {
            backend.set_mode(mode);
            return Err(error);
        }
        self.parts.pool.remove(name);
        tracing::info!(backend = %name, "a server was removed");
        Ok(())
    }

    /// Says what is wanted of a server.
    ///
    /// # Errors
    /// See [`BackendError`]; nothing was changed.
    pub async fn set_backend_mode(
        &self,
        name: &BackendName,
        mode: BackendMode,
    ) -> Result<Arc<Backend>, BackendError> {
        let backend = self.backend(name)?;
        self.parts.store.set_backend_mode(name, mode).await?;
        backend.set_mode(mode);
        tracing::info!(backend = %name, mode = mode.as_str(), "the mode of a server was set");
        Ok(backend)
    }
}

fn has_no_jobs(backend: &Backend) -> Result<(), BackendError> {
    match backend.feeds().count() {
        0 => Ok(()),
        jobs => Err(BackendError::Busy { name: backend.name().clone(), jobs }),
    }
}

/// Why a server could not be added, if it could not; without any of its credentials.
#[must_use]
pub fn unusable(backend: &StoredBackend) -> Option<String> {
    settings(backend).err()
}

/// Brings back what was added and set before this start. A server that cannot be brought back is told of and left out:
/// the configuration may have taken its name or its address since.
///
/// # Errors
/// The store failed.
pub async fn restore_backends(parts: &SchedulerDeps) -> Result<(), StoreError> {
    for backend in parts.store.added_backends().await? {
        let added = settings(&backend).and_then(|settings| {
            parts.pool.add(settings).map_err(|error| BackendError::from(error).to_string())
        });
        if let Err(reason) = added {
            tracing::warn!(backend = %backend.name, reason, "a server that was added before is left out");
        }
    }
    for (name, mode) in parts.store.backend_modes().await? {
        // That of a server which is not there now stays kept: it may come back.
        if let Some(backend) = parts.pool.find(&name) {
            backend.set_mode(mode);
        }
    }
    Ok(())
}

/// The server as the pool takes it.
fn settings(backend: &StoredBackend) -> Result<BackendSettings, String> {
    let url =
        Url::parse(backend.url.expose_secret()).map_err(|error| format!("its url is no URL: {error}"))?;
    let mut endpoint = ComfyEndpoint::new(url);
    endpoint.bearer.clone_from(&backend.bearer);
    endpoint.cookies.clone_from(&backend.cookies);
    endpoint.headers.clone_from(&backend.headers);
    endpoint.api_key.clone_from(&backend.api_key);
    endpoint.validate().map_err(|error| error.reason)?;
    Ok(BackendSettings {
        name: backend.name.clone(),
        endpoint,
        slots: usize::try_from(backend.slots).unwrap_or(usize::MAX),
        labels: backend.labels.clone(),
    })
}

impl From<AddError> for BackendError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Clash(clash) => Self::Exists(clash.to_string()),
            AddError::Endpoint(error) => Self::Unusable(error.reason),
        }
    }
}
