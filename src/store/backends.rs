//! The ComfyUI servers that were added at run time, and what operators want of servers. It must not connect to any.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::StoreError;
use crate::domain::id::BackendName;
use crate::domain::mode::BackendMode;
use crate::domain::time::UnixMillis;

/// A server that was added at run time. It keeps credentials: they are needed to reach it.
#[derive(Debug, Clone)]
pub struct StoredBackend {
    /// Its name.
    pub name: BackendName,
    /// Where it is; may hold a user and a password.
    pub url: SecretString,
    /// Jobs it is given at once; at least 1.
    pub slots: u32,
    /// What it is called besides.
    pub labels: Vec<String>,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<SecretString>,
    /// Sent as the `Cookie` header.
    pub cookies: Option<SecretString>,
    /// Further headers, by name.
    pub headers: Vec<(String, SecretString)>,
    /// Given to ComfyUI's paid API nodes with each job.
    pub api_key: Option<SecretString>,
    /// When it was added.
    pub created_at: UnixMillis,
}

impl StoredBackend {
    /// Whether both are the same in all they hold.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        fn shown(backend: &StoredBackend) -> impl PartialEq {
            let open = |secret: &SecretString| secret.expose_secret().to_owned();
            let headers: Vec<_> =
                backend.headers.iter().map(|(name, value)| (name.clone(), open(value))).collect();
            let secrets =
                [&backend.bearer, &backend.cookies, &backend.api_key].map(|secret| secret.as_ref().map(open));
            let plain = (backend.name.clone(), backend.slots, backend.labels.clone(), backend.created_at);
            (plain, open(&backend.url), headers, secrets)
        }
        shown(self) == shown(other)
    }
}

/// Servers and their modes, durable. Promises as those of [`super::JobStore`].
#[async_trait]
pub trait BackendStore: Send + Sync + std::fmt::Debug {
    /// Keeps a server; whether its name was free. One that was kept before stays as it is.
    async fn add_backend(&self, backend: StoredBackend) -> Result<bool, StoreError>;

    /// Every kept server, in the order in which they were added.
    async fn added_backends(&self) -> Result<Vec<StoredBackend>, StoreError>;

    /// Forgets a kept server and its mode; whether there was one.
    async fn delete_backend(&self, name: &BackendName) -> Result<bool, StoreError>;

    /// Keeps what is wanted of the server of that name, be it kept here or not.
    async fn set_backend_mode(&self, name: &BackendName, mode: BackendMode) -> Result<(), StoreError>;

    /// The modes of all servers that are not open, by name.
    async fn backend_modes(&self) -> Result<Vec<(BackendName, BackendMode)>, StoreError>;
}
