//! The connections of a client, and the steps that every call consists of.

use std::fmt;
use std::sync::Arc;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Response};
use url::Url;

use super::endpoint::{ComfyEndpoint, EndpointError};
use super::error::{CallFault, ComfyError};
use super::routes::{ComfyRoute, KnownRoutes, UPLOAD};
use super::sanitize::clean_text;
use crate::clock::Clock;

/// The most bytes that are read from the body of a failed call.
const ERROR_BODY: usize = 64 << 10;

/// A client for one backend. A clone is cheap and shares the connections and the discovered routes.
#[derive(Clone)]
pub struct ComfyClient(Arc<ClientInner>);

struct ClientInner {
    endpoint: ComfyEndpoint,
    base: Url,
    shown_url: Arc<str>,
    headers: HeaderMap,
    http: reqwest::Client,
    routes: KnownRoutes,
    clock: Arc<dyn Clock>,
}

impl ComfyClient {
    /// Creates a client for the backend at `endpoint` without opening a connection. `clock` times the pings of the
    /// websocket; the timeouts of reads and writes always use real time.
    ///
    /// The client connects to the backend directly: it ignores proxies from the environment, follows no redirects,
    /// and never sends a request twice.
    ///
    /// # Errors
    /// The address, a header or a credential cannot be used.
    pub fn new(endpoint: ComfyEndpoint, clock: Arc<dyn Clock>) -> Result<Self, EndpointError> {
        let shown_url = endpoint.shown_url().into();
        let (base, headers) = endpoint.base_and_headers()?;
        let http = build_http_client(&endpoint, headers.clone())
            .map_err(|error| endpoint.unusable(&error.to_string()))?;
        let routes = KnownRoutes::default();
        Ok(Self(Arc::new(ClientInner { endpoint, base, shown_url, headers, http, routes, clock })))
    }

    /// The address of the backend without credentials and query, safe to show.
    #[must_use]
    pub fn shown_url(&self) -> &str {
        &self.0.shown_url
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

    pub(super) fn routes(&self) -> &KnownRoutes {
        &self.0.routes
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    pub(super) fn error(&self, route: ComfyRoute, fault: CallFault) -> ComfyError {
        ComfyError { route, url: Arc::clone(&self.0.shown_url), fault }
    }

    pub(super) fn malformed(&self, route: ComfyRoute, reason: impl fmt::Display) -> ComfyError {
        self.error(route, CallFault::Malformed { reason: reason.to_string() })
    }

    /// A request to `route` with the prefix that this backend uses.
    pub(super) async fn call(
        &self,
        route: ComfyRoute,
        last: Option<&str>,
        query: &[(&str, &str)],
    ) -> Result<RequestBuilder, ComfyError> {
        let prefix = self.route_prefix().await?;
        Ok(self.request(route, prefix.url(self.base(), route, last, query)))
    }

    pub(super) fn request(&self, route: ComfyRoute, url: Url) -> RequestBuilder {
        if route.post { self.0.http.post(url) } else { self.0.http.get(url) }
    }

    /// Sends a request and waits for the head of the response, whatever its status. The caller sets the timeout of
    /// the whole exchange.
    pub(super) async fn send(
        &self,
        route: ComfyRoute,
        request: RequestBuilder,
    ) -> Result<Response, ComfyError> {
        request.send().await.map_err(|error| self.exchange_error(route, &error))
    }

    /// Returns a response with a 2xx status. Any other status becomes an error with the beginning of the body.
    pub(super) async fn require_success(
        &self,
        route: ComfyRoute,
        response: Response,
    ) -> Result<Response, ComfyError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        // The status says enough if the body cannot be read.
        let body = self.read_body(route, response, ERROR_BODY).await.unwrap_or_default();
        Err(self.error(route, CallFault::from_status(code, &body)))
    }

    /// Sends a request and reads its successful response as clean JSON text.
    pub(super) async fn read_json(
        &self,
        route: ComfyRoute,
        request: RequestBuilder,
    ) -> Result<String, ComfyError> {
        let response = self.send(route, request.timeout(self.endpoint().timeouts.request)).await?;
        let response = self.require_success(route, response).await?;
        let text = self.read_body(route, response, self.endpoint().limits.json).await.map(clean_text)?;
        if text.trim_start().starts_with('<') {
            let reason = "it is a web page (HTML), perhaps the login page of a proxy or another program; is this ComfyUI's own address?";
            return Err(self.malformed(route, reason));
        }
        Ok(text)
    }

    /// Sends a request whose successful response has no content of interest.
    pub(super) async fn complete(
        &self,
        route: ComfyRoute,
        request: RequestBuilder,
    ) -> Result<(), ComfyError> {
        let response = self.send(route, request.timeout(self.endpoint().timeouts.request)).await?;
        let response = self.require_success(route, response).await?;
        self.read_body(route, response, ERROR_BODY).await.map(drop)
    }

    /// Reads a body of at most `limit` bytes to its end. A larger one is an error.
    pub(super) async fn read_body(
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
        while let Some(piece) = response.chunk().await.map_err(|error| self.exchange_error(route, &error))? {
            if piece.len() > limit - body.len() {
                return Err(self.error(route, CallFault::TooLarge { limit }));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    pub(super) fn exchange_error(&self, route: ComfyRoute, error: &reqwest::Error) -> ComfyError {
        let timeouts = self.endpoint().timeouts;
        let timeout = if route == UPLOAD { timeouts.upload } else { timeouts.request };
        self.error(route, CallFault::from_exchange(error, timeout))
    }
}

impl fmt::Debug for ComfyClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ComfyClient").field(&self.0.endpoint).finish()
    }
}

fn build_http_client(endpoint: &ComfyEndpoint, headers: HeaderMap) -> reqwest::Result<reqwest::Client> {
    // HTTP and the websocket share one cryptography provider, and installing it a second time is an error.
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .default_headers(headers)
        .connect_timeout(endpoint.timeouts.connect)
        // ComfyUI drops a connection that is idle for 75 s. A job sent into a connection that is just being dropped
        // would have an unclear fate, so the client gives idle connections up long before.
        .pool_idle_timeout(std::time::Duration::from_secs(20))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .tcp_nodelay(true)
        .build()
}
