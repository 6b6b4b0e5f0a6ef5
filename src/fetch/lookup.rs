//! Resolves names to addresses, and checks each address before a connection to it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::guard::AddressGuard;

/// Resolves host names.
#[async_trait]
pub trait NameLookup: fmt::Debug + Send + Sync {
    /// The addresses of `name`, in the order in which they are tried.
    ///
    /// # Errors
    /// The name is unknown, or no resolver answered.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl NameLookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// A resolver for an HTTP client that returns only addresses that passed the guard. The client connects to
/// exactly these, so a name cannot resolve differently between check and connection.
///
/// A name with any refused address is refused as a whole, because no public name has a private address by
/// accident.
#[derive(Debug, Clone)]
pub struct GuardedLookup {
    lookup: Arc<dyn NameLookup>,
    /// `None` for names that are allowed whatever they resolve to.
    guard: Option<Arc<AddressGuard>>,
}

impl GuardedLookup {
    /// Resolves with `lookup` and checks the answers with `guard`.
    #[must_use]
    pub fn new(lookup: Arc<dyn NameLookup>, guard: Arc<AddressGuard>) -> Self {
        Self { lookup, guard: Some(guard) }
    }

    /// Resolves names of [`super::UrlClearance::Allowed`] with `lookup`.
    pub(super) fn unguarded(lookup: Arc<dyn NameLookup>) -> Self {
        Self { lookup, guard: None }
    }
}

impl Resolve for GuardedLookup {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { lookup, guard } = self.clone();
        Box::pin(async move {
            let found = lookup.lookup(name.as_str()).await.map_err(UnresolvedName)?;
            if found.is_empty() {
                return Err(UnresolvedName(io::Error::other("it has no address")).into());
            }
            if let Some(guard) = guard {
                found.iter().try_for_each(|address| guard.check_addr(*address))?;
            }
            // The client replaces port 0 with the URL's port.
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// The name has no address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UnresolvedName(io::Error);

#[cfg(test)]
mod tests {
    use super::super::guard::GuardRefusal;
    use super::*;

    #[derive(Debug)]
    struct FixedAddresses(&'static [&'static str]);

    #[async_trait]
    impl NameLookup for FixedAddresses {
        async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.iter().map(|address| address.parse().unwrap()).collect())
        }
    }

    async fn resolved(addresses: &'static [&'static str]) -> Result<Vec<String>, reqwest::dns::Name> {
        let guarded = GuardedLookup::new(Arc::new(FixedAddresses(addresses)), Arc::default());
        match guarded.resolve("a.example".parse().unwrap()).await {
            Ok(found) => Ok(found.map(|address| address.to_string()).collect()),
            Err(error) => {
                assert!(error.is::<GuardRefusal>() || error.is::<UnresolvedName>(), "{error}");
                Err("refused".parse().unwrap())
            }
        }
    }

    #[tokio::test]
    async fn every_address_must_be_public() {
        let public = resolved(&["9.9.9.9", "2620:fe::fe"]).await.unwrap();
        assert_eq!(public, ["9.9.9.9:0", "[2620:fe::fe]:0"]);
        for addresses in [&["9.9.9.9", "10.0.0.1"][..], &["127.0.0.1", "9.9.9.9"], &["::1"], &[]] {
            assert!(resolved(addresses).await.is_err(), "{addresses:?}");
        }
    }

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let found = SystemLookup.lookup("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }
}
