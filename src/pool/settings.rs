//! The settings of one backend, from the configuration or from the API.

use crate::comfy::ComfyEndpoint;
use crate::domain::id::BackendName;

/// How many slots a backend may have.
pub const SLOTS: std::ops::RangeInclusive<usize> = 1..=64;
/// The slots of a backend whose settings name none. This is an upper bound: the scheduler fills fewer slots while
/// jobs run long.
pub const DEFAULT_SLOTS: usize = 8;

/// The settings of one backend.
#[derive(Debug, Clone)]
pub struct BackendSettings {
    /// Its name, unique in the pool.
    pub name: BackendName,
    /// Its address and credentials.
    pub endpoint: ComfyEndpoint,
    /// The most jobs it is given at once: the running one and those in its own queue.
    pub slots: usize,
    /// Labels by which a job can ask for a kind of backend.
    pub labels: Vec<String>,
}

/// Why two backends cannot be in one pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendClash {
    /// Both have this name.
    #[error("the name `{0}` is taken by another backend; each backend needs its own name")]
    Name(BackendName),
    /// Both, the existing one first, have this address.
    #[error("`{0}` and `{1}` are the same backend {2}; raise its `slots` instead")]
    Address(BackendName, BackendName, String),
}

impl BackendSettings {
    /// Whether both are equal, credentials included.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.endpoint.is_same(&other.endpoint)
            && self.slots == other.slots
            && self.labels == other.labels
    }

    /// Checks that the backend can be in one pool with `others`.
    ///
    /// # Errors
    /// Another backend has the same name or the same address. Two backends may share an address if one of them has
    /// headers of its own, because a proxy may choose the ComfyUI by a header.
    pub fn check_clash<'a>(
        &self,
        others: impl IntoIterator<Item = &'a Self> + Clone,
    ) -> Result<(), BackendClash> {
        if others.clone().into_iter().any(|other| other.name == self.name) {
            return Err(BackendClash::Name(self.name.clone()));
        }
        let same = others.into_iter().find(|other| {
            let (one, two) = (&other.endpoint, &self.endpoint);
            let alike = canonical_url(one) == canonical_url(two) && one.url.query() == two.url.query();
            alike && one.headers.is_empty() && two.headers.is_empty()
        });
        match same {
            Some(same) => {
                let url = self.endpoint.shown_url();
                Err(BackendClash::Address(same.name.clone(), self.name.clone(), url))
            }
            None => Ok(()),
        }
    }
}

/// The address, in which the two loopback addresses read `localhost`.
fn canonical_url(endpoint: &ComfyEndpoint) -> String {
    let url = endpoint.shown_url();
    let host = endpoint.url.host_str().unwrap_or_default();
    if ["127.0.0.1", "[::1]"].contains(&host) { url.replacen(host, "localhost", 1) } else { url }
}
