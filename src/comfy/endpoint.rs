//! The address, the credentials and the limits of one backend. Nothing here opens a connection.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// Everything that is needed to call one backend.
#[derive(Clone)]
pub struct ComfyEndpoint {
    /// An `http` or `https` URL. Its path is a prefix of every route, its query is sent with every request, and its
    /// user and password are sent as basic authorization.
    pub url: Url,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<SecretString>,
    /// Sent as the `Cookie` header, so in the form `name=value; name=value`.
    pub cookies: Option<SecretString>,
    /// Further headers, sent with every request and with the handshake of the websocket.
    pub headers: Vec<(String, SecretString)>,
    /// The key for ComfyUI's paid API nodes, sent with each job as `extra_data.api_key_comfy_org`.
    pub api_key: Option<SecretString>,
    /// How long each step of a call may take.
    pub timeouts: CallTimeouts,
    /// How large each kind of answer may be.
    pub limits: AnswerLimits,
}

impl ComfyEndpoint {
    /// A backend at `url` without credentials, with the default timeouts and limits.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            bearer: None,
            cookies: None,
            headers: Vec::new(),
            api_key: None,
            timeouts: CallTimeouts::default(),
            limits: AnswerLimits::default(),
        }
    }

    /// The address without user, password, query and fragment, safe to show.
    #[must_use]
    pub fn shown_url(&self) -> String {
        let mut url = without_user(&self.url);
        url.set_query(None);
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// Whether both have the same address, headers and credentials. Timeouts and limits are not compared.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let key = |endpoint: &Self| endpoint.api_key.as_ref().map(|key| key.expose_secret().to_owned());
        self.base_and_headers().ok() == other.base_and_headers().ok() && key(self) == key(other)
    }

    /// Checks that a client can be made, without opening a connection.
    ///
    /// # Errors
    /// The address, a header or a credential cannot be used.
    pub fn validate(&self) -> Result<(), EndpointError> {
        self.base_and_headers().map(drop)
    }

    /// The base URL of all requests and the headers to send with each.
    pub(super) fn base_and_headers(&self) -> Result<(Url, HeaderMap), EndpointError> {
        if !matches!(self.url.scheme(), "http" | "https") || self.url.host().is_none() {
            return Err(self.unusable("its URL must begin with http:// or https:// and name a host"));
        }
        let headers = self.header_map().map_err(|reason| self.unusable(&reason))?;
        Ok((without_user(&self.url), headers))
    }

    pub(super) fn unusable(&self, reason: &str) -> EndpointError {
        EndpointError { url: self.shown_url(), reason: reason.to_owned() }
    }

    fn header_map(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let parsed: HeaderName =
                name.parse().map_err(|_| format!("`{name}` is not a valid header name"))?;
            if is_reserved(&parsed) {
                return Err(format!("the header `{name}` cannot be chosen, because HTTP itself sets it"));
            }
            headers.append(parsed, secret_value(name, value.expose_secret())?);
        }
        if let Some(cookies) = &self.cookies {
            headers.insert(COOKIE, secret_value("the cookies", cookies.expose_secret())?);
        }
        if let Some(authorization) = self.authorization()? {
            headers.insert(AUTHORIZATION, secret_value("the credentials", &authorization)?);
        }
        Ok(headers)
    }

    fn authorization(&self) -> Result<Option<String>, String> {
        let has_user = !self.url.username().is_empty() || self.url.password().is_some();
        match (&self.bearer, has_user) {
            (Some(_), true) => {
                Err("it has both a bearer token and a user in its URL; only one can be sent".to_owned())
            }
            (Some(bearer), false) => Ok(Some(format!("Bearer {}", bearer.expose_secret()))),
            (None, true) => Ok(Some(basic_authorization(&self.url))),
            (None, false) => Ok(None),
        }
    }
}

impl fmt::Debug for ComfyEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("ComfyEndpoint")
            .field("url", &self.shown_url())
            .field("bearer", &self.bearer)
            .field("cookies", &self.cookies)
            .field("headers", &names)
            .field("api_key", &self.api_key)
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .finish()
    }
}

/// The settings of a backend cannot work. Safe to show, because no secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the settings of the backend {url} cannot be used: {reason}")]
pub struct EndpointError {
    /// The address of the backend without credentials and query.
    pub url: String,
    /// The setting at fault and the fault.
    pub reason: String,
}

/// How long each step of a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTimeouts {
    /// Until a connection is open; for the websocket, including its handshake.
    pub connect: Duration,
    /// Until a JSON answer has been read to its end, or until the head of a file's answer has arrived.
    pub request: Duration,
    /// Between two pieces of a downloaded file.
    pub stall: Duration,
    /// For an upload, from its first byte to the answer.
    pub upload: Duration,
    /// The silence on the websocket after which the client sends a ping. ComfyUI sends no pings.
    pub ping_every: Duration,
    /// How long a ping may stay unanswered before the websocket counts as lost.
    pub pong_within: Duration,
}

impl Default for CallTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            upload: Duration::from_mins(10),
            ping_every: Duration::from_secs(15),
            pong_within: Duration::from_secs(30),
        }
    }
}

/// How much a backend may send in one answer, in bytes. Files are streamed and have no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerLimits {
    /// A JSON answer. A history entry holds the whole workflow of the job and all its text outputs.
    pub json: usize,
    /// One websocket message. ComfyUI sends an output of any size in a single frame.
    pub message: usize,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self { json: 256 << 20, message: 512 << 20 }
    }
}

fn without_user(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_fragment(None);
    // Both calls fail only for a URL without a host, which has no user either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

fn basic_authorization(url: &Url) -> String {
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

fn secret_value(name: &str, value: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("{name}: the value has characters that are not allowed in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a header describes the message or the connection, so that only the HTTP client can set it.
fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("sec-websocket-")
        || matches!(name, "connection" | "content-length" | "content-type" | "transfer-encoding" | "upgrade")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> ComfyEndpoint {
        ComfyEndpoint::new(Url::parse(url).unwrap())
    }

    #[test]
    fn nothing_secret_is_shown() {
        let mut endpoint = endpoint("https://user:pass-word@gpu.example/comfy/?token=query-secret#f");
        endpoint.cookies = Some("cookie-secret".into());
        endpoint.api_key = Some("key-secret".into());
        endpoint.headers = vec![("X-Key".to_owned(), "header-secret".into())];
        assert_eq!(endpoint.shown_url(), "https://gpu.example/comfy");
        let (url, headers) = endpoint.base_and_headers().unwrap();
        assert_eq!(url.as_str(), "https://gpu.example/comfy/?token=query-secret");
        for shown in [format!("{endpoint:?}"), format!("{headers:?}")] {
            assert!(!shown.contains("secret") && !shown.contains("pass-word"), "{shown}");
        }
    }

    #[test]
    fn credentials_become_headers() {
        let mut endpoint = endpoint("http://us%40er:p%3Aa+b@h");
        endpoint.cookies = Some("a=1; b=2\n".into());
        endpoint.headers = vec![("X-Key".to_owned(), "1".into()), ("x-key".to_owned(), "2".into())];
        let (_, headers) = endpoint.base_and_headers().unwrap();
        let expected = format!("Basic {}", BASE64_STANDARD.encode("us@er:p:a+b"));
        assert_eq!(headers[AUTHORIZATION], expected.as_str());
        assert_eq!(headers[COOKIE], "a=1; b=2");
        assert_eq!(headers.get_all("x-key").iter().count(), 2);
        endpoint.url = Url::parse("http://h").unwrap();
        endpoint.bearer = Some("t0k".into());
        assert_eq!(endpoint.base_and_headers().unwrap().1[AUTHORIZATION], "Bearer t0k");
    }

    #[test]
    fn unusable_settings_are_reported_without_their_secrets() {
        let refused = |change: fn(&mut ComfyEndpoint)| {
            let mut endpoint = endpoint("http://h");
            change(&mut endpoint);
            endpoint.base_and_headers().unwrap_err().to_string()
        };
        let header = |name: &str| (name.to_owned(), SecretString::from("se\ncret"));
        assert!(refused(|e| e.url = Url::parse("ftp://h").unwrap()).contains("http://"));
        assert!(refused(|e| e.url = Url::parse("data:x").unwrap()).contains("http://"));
        assert!(refused(|e| e.headers = vec![("a b".to_owned(), "x".into())]).contains("`a b`"));
        assert!(refused(|e| e.headers = vec![("Upgrade".to_owned(), "x".into())]).contains("`Upgrade`"));
        let mut bad = endpoint("http://h");
        bad.headers = vec![header("X-A")];
        let message = bad.base_and_headers().unwrap_err().to_string();
        assert!(message.contains("X-A") && !message.contains("cret"), "{message}");
        let mut both = endpoint("http://u@h");
        both.bearer = Some("x".into());
        assert!(both.base_and_headers().unwrap_err().reason.contains("both"));
    }
}
