//! Adds and removes backends at run time, and sets their modes. All changes are stored, so that they survive
//! a restart.

use std::sync::Arc;

use secrecy::ExposeSecret;
use url::Url;

use super::state::Service;
use crate::comfy::ComfyEndpoint;
use crate::core::GatewayCore;
use crate::domain::id::BackendName;
use crate::pool::{AddError, Backend, BackendMode, BackendSettings};
use crate::store::{StoreError, StoredBackend};

/// Why a change of the backends was rejected.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No backend has this name.
    #[error("no backend is named {0}; GET /backends lists all backends")]
    Unknown(BackendName),
    /// Another backend has the same name or address. The text says which.
    #[error("{0}")]
    Exists(String),
    /// The address or the credentials are not usable. The text says why, and contains no credentials.
    #[error("{0}")]
    Unusable(String),
    /// The backend still has jobs.
    #[error("the backend {name} still has {jobs} jobs; drain it and wait until `drained` is true")]
    Busy {
        /// The backend's name.
        name: BackendName,
        /// The number of its jobs from this gateway.
        jobs: usize,
    },
    /// The backend is defined in the configuration.
    #[error("the backend {0} is defined in the configuration; remove it there, or cordon it")]
    Configured(BackendName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Service {
    /// Finds a backend by its name.
    ///
    /// # Errors
    /// [`BackendError::Unknown`].
    pub fn backend(&self, name: &BackendName) -> Result<Arc<Backend>, BackendError> {
        self.core.pool.find(name).ok_or_else(|| BackendError::Unknown(name.clone()))
    }

    /// Adds a backend. It is stored before it can receive a job.
    ///
    /// # Errors
    /// See [`BackendError`]; nothing was changed.
    pub async fn add_backend(&self, backend: StoredBackend) -> Result<Arc<Backend>, BackendError> {
        let settings = settings(&backend).map_err(BackendError::Unusable)?;
        let present = self.core.pool.backends();
        settings
            .check_clash(present.iter().map(|backend| backend.settings()))
            .map_err(|clash| BackendError::Exists(clash.to_string()))?;
        let name = backend.name.clone();
        if !self.core.store.add_backend(backend).await? {
            return Err(BackendError::Exists(format!("the name `{name}` belongs to another backend")));
        }
        match self.core.pool.add(settings) {
            Ok(backend) => {
                tracing::info!(backend = %name, url = backend.client().shown_url(), "a backend was added");
                Ok(backend)
            }
            Err(error) => {
                self.core.store.delete_backend(&name).await?;
                Err(error.into())
            }
        }
    }

    /// Removes a backend that was added at run time and has no jobs.
    ///
    /// # Errors
    /// See [`BackendError`]; nothing was changed.
    pub async fn remove_backend(&self, name: &BackendName) -> Result<(), BackendError> {
        let backend = self.backend(name)?;
        if backend.is_configured() {
            return Err(BackendError::Configured(name.clone()));
        }
        // Check again after cordoning: a job may have been dispatched to it in between, and none can follow.
        check_idle(&backend)?;
        let mode = backend.mode();
        backend.set_mode(BackendMode::Cordoned);
        let removed = match check_idle(&backend) {
            Ok(()) => self.core.store.delete_backend(name).await.map_err(BackendError::from),
            Err(busy) => Err(busy),
        };
        if let Err(error) = removed {
            backend.set_mode(mode);
            return Err(error);
        }
        self.core.pool.remove(name);
        tracing::info!(backend = %name, "a backend was removed");
        Ok(())
    }

    /// Sets the mode of a backend.
    ///
    /// # Errors
    /// See [`BackendError`]; nothing was changed.
    pub async fn set_backend_mode(
        &self,
        name: &BackendName,
        mode: BackendMode,
    ) -> Result<Arc<Backend>, BackendError> {
        let backend = self.backend(name)?;
        self.core.store.set_backend_mode(name, mode).await?;
        backend.set_mode(mode);
        tracing::info!(backend = %name, mode = mode.as_str(), "the mode of a backend was set");
        Ok(backend)
    }
}

fn check_idle(backend: &Backend) -> Result<(), BackendError> {
    match backend.feeds().count() {
        0 => Ok(()),
        jobs => Err(BackendError::Busy { name: backend.name().clone(), jobs }),
    }
}

/// Why a backend cannot be added, or `None` if its address and credentials are usable. The reason contains no
/// credentials.
#[must_use]
pub fn find_unusable(backend: &StoredBackend) -> Option<String> {
    settings(backend).err()
}

/// Restores the backends that were added and the modes that were set before this start. A backend that cannot be restored
/// is logged and skipped: the configuration may use its name or its address now.
///
/// # Errors
/// The store failed.
pub async fn restore_backends(core: &GatewayCore) -> Result<(), StoreError> {
    for backend in core.store.added_backends().await? {
        let added = settings(&backend).and_then(|settings| {
            core.pool.add(settings).map_err(|error| BackendError::from(error).to_string())
        });
        if let Err(reason) = added {
            tracing::warn!(backend = %backend.name, reason, "a backend that was added before this start was skipped");
        }
    }
    for (name, mode) in core.store.backend_modes().await? {
        // The mode of an absent backend stays stored, because the backend may return.
        if let Some(backend) = core.pool.find(&name) {
            backend.set_mode(mode);
        }
    }
    Ok(())
}

/// Converts a stored backend to the pool's settings.
fn settings(backend: &StoredBackend) -> Result<BackendSettings, String> {
    let url = Url::parse(backend.url.expose_secret())
        .map_err(|error| format!("its url is not a valid URL: {error}"))?;
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
