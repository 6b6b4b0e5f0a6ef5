//! Where a ComfyUI server is and how to be let in. It must not open a connection.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// One ComfyUI server: its address, its credentials, and how long and how much is borne from it.
#[derive(Clone)]
pub struct ComfyEndpoint {
    /// `http` or `https`. A path is a prefix of every route; a query is sent with every request; a user and
    /// password are sent as basic authorization.
    pub url: Url,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<SecretString>,
    /// Sent as the `Cookie` header, in its form `name=value; name=value`.
    pub cookies: Option<SecretString>,
    /// Sent with every request and with the websocket's handshake.
    pub headers: Vec<(String, SecretString)>,
    /// Given to ComfyUI's paid API nodes with each job, as `extra_data.api_key_comfy_org`.
    pub api_key: Option<SecretString>,
    /// How long things may take.
    pub timeouts: CallTimeouts,
    /// How large things may be.
    pub limits: AnswerLimits,
}

impl ComfyEndpoint {
    /// The server at `url`, without credentials and with the default timeouts and limits.
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

    /// The address as it may be shown: without user, password, query and fragment.
    #[must_use]
    pub fn shown_url(&self) -> String {
        let mut url = bare(&self.url);
        url.set_query(None);
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// Whether both lead to the same place with the same credentials.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let key = |endpoint: &Self| endpoint.api_key.as_ref().map(|key| key.expose_secret().to_owned());
        self.checked().ok() == other.checked().ok() && key(self) == key(other)
    }

    /// Tells whether a client can be made for it; nothing is opened.
    ///
    /// # Errors
    /// The address, a header or a credential cannot be used.
    pub fn validate(&self) -> Result<(), EndpointError> {
        self.checked().map(drop)
    }

    /// The address and the headers to use.
    pub(super) fn checked(&self) -> Result<(Url, HeaderMap), EndpointError> {
        if !matches!(self.url.scheme(), "http" | "https") || self.url.host().is_none() {
            return Err(self.unusable("its url must begin with http:// or https:// and name a host"));
        }
        let headers = self.header_map().map_err(|reason| self.unusable(&reason))?;
        Ok((bare(&self.url), headers))
    }

    pub(super) fn unusable(&self, reason: &str) -> EndpointError {
        EndpointError { server: self.shown_url(), reason: reason.to_owned() }
    }

    fn header_map(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let parsed: HeaderName =
                name.parse().map_err(|_| format!("`{name}` is not a valid header name"))?;
            if is_ours(&parsed) {
                return Err(format!("the header `{name}` is set by the connection itself"));
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
        let named = !self.url.username().is_empty() || self.url.password().is_some();
        match (&self.bearer, named) {
            (Some(_), true) => Err("it has both a bearer token and a user in its url".to_owned()),
            (Some(bearer), false) => Ok(Some(format!("Bearer {}", bearer.expose_secret()))),
            (None, true) => Ok(Some(basic(&self.url))),
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

/// Settings of a server that can never work. Safe to show: it holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the settings of the ComfyUI server {server} cannot be used: {reason}")]
pub struct EndpointError {
    /// The server's address without credentials or query.
    pub server: String,
    /// Which setting is wrong, and how.
    pub reason: String,
}

/// How long a server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTimeouts {
    /// Until a connection stands; for the websocket, with its handshake.
    pub connect: Duration,
    /// Until a JSON answer has been read to its end, and until the head of a file's answer is there.
    pub request: Duration,
    /// Between two pieces of a file.
    pub stall: Duration,
    /// For an upload, from its first byte to the server's answer.
    pub upload: Duration,
    /// Silence on the websocket after which a ping is sent; ComfyUI sends none.
    pub ping_every: Duration,
    /// Silence after such a ping after which the websocket counts as dead.
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

/// How much a server may send, in bytes. Files have no limit: they are streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerLimits {
    /// A JSON answer. A history entry holds the job's whole workflow and all texts it gave.
    pub json: usize,
    /// One websocket message. ComfyUI sends an output of any size in one frame.
    pub message: usize,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self { json: 256 << 20, message: 512 << 20 }
    }
}

fn bare(url: &Url) -> Url {
    let mut bare = url.clone();
    bare.set_fragment(None);
    // Both fail only for addresses without a host, which have no user either.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare
}

fn basic(url: &Url) -> String {
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

fn secret_value(what: &str, value: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("{what}: the value has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Headers that describe the message or the connection, which only the one who makes those can know.
fn is_ours(name: &HeaderName) -> bool {
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
        let (url, headers) = endpoint.checked().unwrap();
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
        let (_, headers) = endpoint.checked().unwrap();
        let expected = format!("Basic {}", BASE64_STANDARD.encode("us@er:p:a+b"));
        assert_eq!(headers[AUTHORIZATION], expected.as_str());
        assert_eq!(headers[COOKIE], "a=1; b=2");
        assert_eq!(headers.get_all("x-key").iter().count(), 2);
        endpoint.url = Url::parse("http://h").unwrap();
        endpoint.bearer = Some("t0k".into());
        assert_eq!(endpoint.checked().unwrap().1[AUTHORIZATION], "Bearer t0k");
    }

    #[test]
    fn what_cannot_be_used_is_said_without_its_secrets() {
        let refused = |change: fn(&mut ComfyEndpoint)| {
            let mut endpoint = endpoint("http://h");
            change(&mut endpoint);
            endpoint.checked().unwrap_err().to_string()
        };
        let header = |name: &str| (name.to_owned(), SecretString::from("se\ncret"));
        assert!(refused(|e| e.url = Url::parse("ftp://h").unwrap()).contains("http://"));
        assert!(refused(|e| e.url = Url::parse("data:x").unwrap()).contains("http://"));
        assert!(refused(|e| e.headers = vec![("a b".to_owned(), "x".into())]).contains("`a b`"));
        assert!(refused(|e| e.headers = vec![("Upgrade".to_owned(), "x".into())]).contains("`Upgrade`"));
        let mut bad = endpoint("http://h");
        bad.headers = vec![header("X-A")];
        let message = bad.checked().unwrap_err().to_string();
        assert!(message.contains("X-A") && !message.contains("cret"), "{message}");
        let mut both = endpoint("http://u@h");
        both.bearer = Some("x".into());
        assert!(both.checked().unwrap_err().reason.contains("both"));
    }
}
