//! The client's connections and the one way every call takes. It must not know what a call is for.

use std::fmt;
use std::sync::Arc;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Response};
use url::Url;

use super::endpoint::{ComfyEndpoint, EndpointError};
use super::error::{CallFault, ComfyError};
use super::routes::{ComfyRoute, KnownRoutes};
use super::sanitize::clean_text;
use crate::clock::Clock;

/// How much of a failed call's body is read, in bytes.
const ERROR_BODY: usize = 64 << 10;

/// A client for one ComfyUI server. Cheap to clone: clones share connections and what is known of the server.
#[derive(Clone)]
pub struct ComfyClient(Arc<ClientInner>);

struct ClientInner {
    endpoint: ComfyEndpoint,
    base: Url,
    server: Arc<str>,
    headers: HeaderMap,
    http: reqwest::Client,
    known: KnownRoutes,
    clock: Arc<dyn Clock>,
}

impl ComfyClient {
    /// A client for the server at `endpoint`. Opens no connection yet. `clock` times the websocket's pings;
    /// the limits on reads and writes of the network are always real time.
    ///
    /// The server is addressed directly: proxies from the environment are not used, redirects not followed,
    /// and no request is ever sent a second time.
    ///
    /// # Errors
    /// When the address, a header or a credential cannot be used.
    pub fn new(endpoint: ComfyEndpoint, clock: Arc<dyn Clock>) -> Result<Self, EndpointError> {
        let server = endpoint.shown_url().into();
        let (base, headers) = endpoint.checked()?;
        let http =
            connections(&endpoint, headers.clone()).map_err(|error| endpoint.unusable(&error.to_string()))?;
        let known = KnownRoutes::default();
        Ok(Self(Arc::new(ClientInner { endpoint, base, server, headers, http, known, clock })))
    }

    /// The server's address as it may be shown: without credentials or query.
    #[must_use]
    pub fn shown_url(&self) -> &str {
        &self.0.server
    }

    pub(super) fn endpoint(&self) -> &ComfyEndpoint {
        &self.0.endpoint
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(super) fn base(&self) -> &Url {
        &self.0.base
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    pub(super) fn known(&self) -> &KnownRoutes {
        &self.0.known
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    pub(super) fn error(&self, route: ComfyRoute, fault: CallFault) -> ComfyError {
        ComfyError { route, server: Arc::clone(&self.0.server), fault }
    }

    pub(super) fn malformed(&self, route: ComfyRoute, reason: impl fmt::Display) -> ComfyError {
        self.error(route, CallFault::Malformed { reason: reason.to_string() })
    }

    /// A call of `route` in the form this server answers to.
    pub(super) async fn call(
        &self,
        route: ComfyRoute,
        last: Option<&str>,
        query: &[(&str, &str)],
    ) -> Result<RequestBuilder, ComfyError> {
        let form = self.form().await?;
        Ok(self.request(route, form.url(self.base(), route, last, query)))
    }

    pub(super) fn request(&self, route: ComfyRoute, url: Url) -> RequestBuilder {
        if route.post { self.0.http.post(url) } else { self.0.http.get(url) }
    }

    /// Sends and waits for the head of the answer, whatever its status. The time for the whole exchange must
    /// have been set by the caller.
    pub(super) async fn send(
        &self,
        route: ComfyRoute,
        request: RequestBuilder,
    ) -> Result<Response, ComfyError> {
        request.send().await.map_err(|error| self.exchange(route, &error))
    }

    /// The answer if its status is one of success; its status and the beginning of its body otherwise.
    pub(super) async fn successful(
        &self,
        route: ComfyRoute,
        response: Response,
    ) -> Result<Response, ComfyError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        // A body that cannot be read takes nothing from the status.
        let body = self.read(route, response, ERROR_BODY).await.unwrap_or_default();
        Err(self.error(route, CallFault::of_status(code, &body)))
    }

    /// Sends, and reads an answer of success as clean JSON text.
    pub(super) async fn json(
        &self,
        route: ComfyRoute,
        request: RequestBuilder,
    ) -> Result<String, ComfyError> {
        let response = self.send(route, request.timeout(self.endpoint().timeouts.request)).await?;
        let response = self.successful(route, response).await?;
        let text = self.read(route, response, self.endpoint().limits.json).await.map(clean_text)?;
        if text.trim_start().starts_with('<') {
            let told = "it is a web page (HTML) and not ComfyUI's: a login page, a proxy's, or another program's; is this ComfyUI's own address?";
            return Err(self.malformed(route, told));
        }
        Ok(text)
    }

    /// Sends, and reads no more of the answer than whether it is one of success.
    pub(super) async fn done(&self, route: ComfyRoute, request: RequestBuilder) -> Result<(), ComfyError> {
        let response = self.send(route, request.timeout(self.endpoint().timeouts.request)).await?;
        let response = self.successful(route, response).await?;
        self.read(route, response, ERROR_BODY).await.map(drop)
    }

    /// Reads a body to its end, up to `limit` bytes.
    pub(super) async fn read(
        &self,
        route: ComfyRoute,
        mut response: Response,
        limit: usize,
    ) -> Result<Vec<u8>, ComfyError> {
        let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(self.error(route, CallFault::TooLarge { limit }));
        }
        let mut body = Vec::with_capacity(announced);
        while let Some(piece) = response.chunk().await.map_err(|error| self.exchange(route, &error))? {
            if piece.len() > limit - body.len() {
                return Err(self.error(route, CallFault::TooLarge { limit }));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    pub(super) fn exchange(&self, route: ComfyRoute, error: &reqwest::Error) -> ComfyError {
        let timeouts = self.endpoint().timeouts;
        let patience = if route == super::upload::UPLOAD { timeouts.upload } else { timeouts.request };
        self.error(route, CallFault::of_exchange(error, patience))
    }
}

impl fmt::Debug for ComfyClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ComfyClient").field(&self.0.endpoint).finish()
    }
}

fn connections(endpoint: &ComfyEndpoint, headers: HeaderMap) -> reqwest::Result<reqwest::Client> {
    // HTTP and the websocket must use one and the same cryptography: whichever is installed first.
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .default_headers(headers)
        .connect_timeout(endpoint.timeouts.connect)
        // Well below the 75 s after which ComfyUI's server drops an idle connection: a job sent into a
        // connection that is just being dropped would have an unclear fate.
        .pool_idle_timeout(std::time::Duration::from_secs(20))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .tcp_nodelay(true)
        .build()
}
