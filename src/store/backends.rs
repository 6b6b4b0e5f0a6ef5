//! [`BackendStore`]: backends added at run time, and the modes operators set for any backend.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::error::StoreError;
use crate::domain::id::BackendName;
use crate::domain::mode::BackendMode;
use crate::domain::time::UnixMillis;

/// A backend added at run time, with the credentials needed to reach it. They are stored in plain text.
#[derive(Debug, Clone)]
pub struct StoredBackend {
    /// The backend's unique name.
    pub name: BackendName,
    /// The base URL; secret because it may contain a user name and a password.
    pub url: SecretString,
    /// How many jobs the backend is given at once; at least 1.
    pub slots: u32,
    /// The labels that jobs can select the backend by.
    pub labels: Vec<String>,
    /// The token sent as `Authorization: Bearer …`.
    pub bearer: Option<SecretString>,
    /// The value sent as the `Cookie` header.
    pub cookies: Option<SecretString>,
    /// Additional headers as pairs of name and value.
    pub headers: Vec<(String, SecretString)>,
    /// The key passed with each job to ComfyUI's paid API nodes.
    pub api_key: Option<SecretString>,
    /// When the backend was added.
    pub created_at: UnixMillis,
}

impl StoredBackend {
    /// Whether all fields, secrets included, are equal.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        fn exposed(backend: &StoredBackend) -> impl PartialEq {
            let open = |secret: &SecretString| secret.expose_secret().to_owned();
            let headers: Vec<_> =
                backend.headers.iter().map(|(name, value)| (name.clone(), open(value))).collect();
            let secrets =
                [&backend.bearer, &backend.cookies, &backend.api_key].map(|secret| secret.as_ref().map(open));
            let plain = (backend.name.clone(), backend.slots, backend.labels.clone(), backend.created_at);
            (plain, open(&backend.url), headers, secrets)
        }
        exposed(self) == exposed(other)
    }
}

/// Added backends and backend modes, durable. The guarantees of [`JobStore`](super::JobStore) apply.
#[async_trait]
pub trait BackendStore: Send + Sync + std::fmt::Debug {
    /// Stores a backend; `false` if its name is taken, in which case the stored backend stays unchanged.
    async fn add_backend(&self, backend: StoredBackend) -> Result<bool, StoreError>;

    /// Every added backend, in the order they were added.
    async fn added_backends(&self) -> Result<Vec<StoredBackend>, StoreError>;

    /// Deletes an added backend together with its mode; `false` if there is none of that name.
    async fn delete_backend(&self, name: &BackendName) -> Result<bool, StoreError>;

    /// Stores the mode of a backend, whether it was added at run time or comes from the configuration.
    async fn set_backend_mode(&self, name: &BackendName, mode: BackendMode) -> Result<(), StoreError>;

    /// The modes of all backends that are not open, ordered by name.
    async fn backend_modes(&self) -> Result<Vec<(BackendName, BackendMode)>, StoreError>;
}
