//! Opens URLs: connections, and the way from one redirect to the next.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderValue, IF_NONE_MATCH, LOCATION};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use super::download::OpenDownload;
use super::error::{FetchError, FetchFault};
use super::guard::{AddressGuard, UrlClearance};
use super::lookup::{GuardedLookup, NameLookup, SystemLookup};
use super::patience::{FetchLimits, TimeBudget};
use crate::clock::Clock;

/// The most redirects that are followed.
const MOST_REDIRECTS: usize = 5;

/// The time to open one connection. Several addresses of a name share it, so that a dead one leaves time for
/// the next.
const CONNECT: Duration = Duration::from_secs(10);

/// The `User-Agent`, because some hosts answer no client without one.
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Fetches URLs. Cheap to clone.
///
/// Each request uses a connection of its own to an address that was checked for it. It ignores proxies of the
/// environment, and sends no cookies, credentials or referrer. Redirects are followed by hand, at most
/// [`MOST_REDIRECTS`], each checked like the first URL and never from `https` to `http`. Compressed bodies
/// are refused, because they may be decompression bombs.
#[derive(Clone)]
pub struct UrlFetcher(Arc<FetcherInner>);

struct FetcherInner {
    guard: Arc<AddressGuard>,
    /// Checks every address of a name.
    guarded: Client,
    /// For hosts that are allowed whatever they resolve to.
    allowed: Client,
    clock: Arc<dyn Clock>,
}

/// The HTTP client could not be built, for example because the system has no certificates.
#[derive(Debug, thiserror::Error)]
#[error("the client that fetches URLs cannot be made: {0}")]
pub struct FetcherError(#[from] reqwest::Error);

impl UrlFetcher {
    /// A fetcher that resolves names as the operating system does.
    ///
    /// # Errors
    /// The HTTP client could not be built.
    pub fn new(guard: AddressGuard, clock: Arc<dyn Clock>) -> Result<Self, FetcherError> {
        Self::with_lookup(guard, Arc::new(SystemLookup), clock)
    }

    /// A fetcher that resolves names with `lookup`. `clock` times its limits.
    ///
    /// # Errors
    /// The HTTP client could not be built.
    pub fn with_lookup(
        guard: AddressGuard,
        lookup: Arc<dyn NameLookup>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, FetcherError> {
        let guard = Arc::new(guard);
        let guarded = client(GuardedLookup::new(Arc::clone(&lookup), Arc::clone(&guard)))?;
        let allowed = client(GuardedLookup::unguarded(lookup))?;
        Ok(Self(Arc::new(FetcherInner { guard, guarded, allowed, clock })))
    }

    /// The guard that checks URLs and addresses.
    #[must_use]
    pub fn guard(&self) -> &AddressGuard {
        &self.0.guard
    }

    /// Opens `url`. It does not retry: after an error that [`FetchError::is_retryable`], call it again.
    ///
    /// # Errors
    /// The guard refuses the URL, no host answers, the answer is not a file, or a limit is reached.
    pub async fn open(&self, url: &Url, limits: FetchLimits) -> Result<OpenDownload, FetchError> {
        let download = self.fetch(url, None, limits).await?;
        download.ok_or_else(|| FetchError::new(url, FetchFault::Status { code: 304 }))
    }

    /// Opens `url`, unless it still is the version with `etag`, for which it returns `None`.
    ///
    /// # Errors
    /// As for [`UrlFetcher::open`].
    pub async fn open_if_none_match(
        &self,
        url: &Url,
        etag: &str,
        limits: FetchLimits,
    ) -> Result<Option<OpenDownload>, FetchError> {
        self.fetch(url, Some(etag), limits).await
    }

    async fn fetch(
        &self,
        url: &Url,
        etag: Option<&str>,
        limits: FetchLimits,
    ) -> Result<Option<OpenDownload>, FetchError> {
        let patience = TimeBudget::new(Arc::clone(&self.0.clock), limits);
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let failed = |fault| FetchError::new(&url, fault);
            let response = self.ask(&url, etag, &patience).await.map_err(failed)?;
            match response.status() {
                StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION => {
                    return OpenDownload::new(url, response, patience, limits.bytes).map(Some);
                }
                StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(None),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    url = next(&url, response.headers().get(LOCATION)).map_err(failed)?;
                }
                other => return Err(failed(FetchFault::Status { code: other.as_u16() })),
            }
        }
        Err(FetchError::new(&url, FetchFault::Redirects { limit: MOST_REDIRECTS }))
    }

    /// One request, up to the head of its response.
    async fn ask(
        &self,
        url: &Url,
        etag: Option<&str>,
        patience: &TimeBudget,
    ) -> Result<Response, FetchFault> {
        let client = match self.0.guard.check_url(url)? {
            UrlClearance::Public => &self.0.guarded,
            UrlClearance::Allowed => &self.0.allowed,
        };
        let mut request = client.get(url.clone()).header(ACCEPT, "*/*").header(ACCEPT_ENCODING, "identity");
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        patience.wait(request.send()).await?.map_err(|error| FetchFault::of_exchange(&error))
    }
}

impl fmt::Debug for UrlFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("guard", &self.0.guard).finish_non_exhaustive()
    }
}

/// The target of a redirect, not checked yet.
fn next(url: &Url, location: Option<&HeaderValue>) -> Result<Url, FetchFault> {
    let location = location.and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let next = url.join(location.ok_or(FetchFault::Location)?).map_err(|_| FetchFault::Location)?;
    if url.scheme() == "https" && next.scheme() == "http" {
        return Err(FetchFault::Downgrade);
    }
    Ok(next)
}

fn client(lookup: GuardedLookup) -> Result<Client, reqwest::Error> {
    // All TLS users of the process share one crypto provider, the first one that is installed.
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::builder()
        .dns_resolver(lookup)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        // One request per connection, so that none reuses an address of an earlier resolution.
        .pool_max_idle_per_host(0)
        .http1_only()
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .user_agent(USER_AGENT)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(from: &str, location: &[u8]) -> Result<String, FetchFault> {
        let location = HeaderValue::from_bytes(location).unwrap();
        next(&Url::parse(from).unwrap(), Some(&location)).map(String::from)
    }

    #[test]
    fn a_redirect_may_gain_encryption_but_not_lose_it() {
        assert_eq!(led("http://a.example/", b"https://b.example/").unwrap(), "https://b.example/");
        assert_eq!(led("https://a.example/x/y", b"z").unwrap(), "https://a.example/x/z");
        assert_eq!(led("https://a.example/", b"http://a.example/"), Err(FetchFault::Downgrade));
        assert_eq!(led("https://a.example/", b"\xff"), Err(FetchFault::Location));
    }
}
