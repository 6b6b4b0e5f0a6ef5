//! A server as it is set up, in the configuration or later. It must not connect to it.

use crate::comfy::ComfyEndpoint;
use crate::domain::id::BackendName;

/// Jobs a server may be given at once.
pub const SLOTS: std::ops::RangeInclusive<usize> = 1..=64;
/// The most jobs a server is given at once unless it is said; how many it really gets goes by how long they run.
pub const DEFAULT_SLOTS: usize = 8;

/// A server as it is set up.
#[derive(Debug, Clone)]
pub struct BackendSettings {
    /// Its name; unique in the pool.
    pub name: BackendName,
    /// Where it is.
    pub endpoint: ComfyEndpoint,
    /// Jobs it is given at once: the running one and those in its own queue.
    pub slots: usize,
    /// What it is called besides, for callers that ask for a kind of server.
    pub labels: Vec<String>,
}

/// Why two servers cannot be in one pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendClash {
    /// Both have the same name.
    #[error("the name `{0}` is taken by another server; each needs its own")]
    Name(BackendName),
    /// Both are the same server.
    #[error("`{0}` and `{1}` are the same server {2}; raise its `slots` instead")]
    Server(BackendName, BackendName, String),
}

impl BackendSettings {
    /// Whether both say the same of the same server, credentials included.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.endpoint.is_same(&other.endpoint)
            && self.slots == other.slots
            && self.labels == other.labels
    }

    /// Whether the server can be in one pool with `others`.
    ///
    /// # Errors
    /// It clashes with one of them.
    pub fn fits_beside<'a>(
        &self,
        others: impl IntoIterator<Item = &'a Self> + Clone,
    ) -> Result<(), BackendClash> {
        if others.clone().into_iter().any(|other| other.name == self.name) {
            return Err(BackendClash::Name(self.name.clone()));
        }
        let server = self.endpoint.server();
        // A proxy may lead to different servers by a header.
        let same = others.into_iter().find(|other| {
            let (one, two) = (&other.endpoint, &self.endpoint);
            let alike = place(one) == place(two) && one.url.query() == two.url.query();
            alike && one.headers.is_empty() && two.headers.is_empty()
        });
        match same {
            Some(same) => Err(BackendClash::Server(same.name.clone(), self.name.clone(), server)),
            None => Ok(()),
        }
    }
}

/// The address with one name for this machine, which has three.
fn place(endpoint: &ComfyEndpoint) -> String {
    let server = endpoint.server();
    let host = endpoint.url.host_str().unwrap_or_default();
    if ["127.0.0.1", "[::1]"].contains(&host) { server.replacen(host, "localhost", 1) } else { server }
}
