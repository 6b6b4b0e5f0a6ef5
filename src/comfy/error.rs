//! The errors of calls to a backend.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::routes::ComfyRoute;

/// A failed call. Cheap to clone, and safe to show because it holds no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{route} at {url}: {fault}")]
pub struct ComfyError {
    /// The route of the call.
    pub route: ComfyRoute,
    /// The address of the backend without credentials and query.
    pub url: Arc<str>,
    /// How the call failed.
    pub fault: CallFault,
}

impl ComfyError {
    /// The message for the log. It leaves out all text of the backend, which may quote the workflow.
    #[must_use]
    pub fn brief(&self) -> String {
        format!("{} at {}: {}", self.route, self.url, self.fault.brief())
    }

    /// Whether nothing listens on the port of the backend: it is down or still starting.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.fault, CallFault::Unreachable { refused: true, .. })
    }

    /// Whether no connection was made, so that the backend has received nothing of the call.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self.fault, CallFault::Unreachable { .. })
    }

    /// Whether the backend answered 404.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.fault == CallFault::NotFound
    }

    /// The HTTP status of the answer, if there was an answer and its status was not 2xx.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.fault {
            CallFault::Status { code, .. } => Some(code),
            CallFault::NotFound => Some(404),
            _ => None,
        }
    }
}

/// How a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFault {
    /// No connection was made, so nothing of the call was delivered.
    #[error("no connection: {reason}")]
    Unreachable {
        /// Whether the connection was refused, because nothing listens on the port.
        refused: bool,
        /// The error of the connection attempt.
        reason: String,
    },
    /// The answer did not arrive in time. The backend may have acted on the call.
    #[error("no answer within {} s", after.as_secs_f32())]
    Timeout {
        /// The timeout.
        after: Duration,
    },
    /// The connection broke during the call. The backend may have acted on the call.
    #[error("the connection broke: {reason}")]
    Broken {
        /// The error of the connection.
        reason: String,
    },
    /// The backend answered 404.
    #[error("answered 404: not found")]
    NotFound,
    /// The backend answered with a status that is neither 2xx nor 404, such as a redirect.
    #[error("answered {code}{}{body}", if body.is_empty() { "" } else { ": " })]
    Status {
        /// The HTTP status.
        code: u16,
        /// The first 500 characters of the body, on one line.
        body: String,
    },
    /// The backend answered with success, but not as ComfyUI does.
    #[error("the answer cannot be understood: {reason}")]
    Malformed {
        /// The fault in the answer.
        reason: String,
    },
    /// The answer is larger than its limit in [`super::AnswerLimits`].
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The backend closed the websocket.
    #[error("the websocket was closed{}", code.map(|code| format!(" with code {code}")).unwrap_or_default())]
    Closed {
        /// The code of the close frame. A ComfyUI that dies sends no frame.
        code: Option<u16>,
    },
    /// The websocket received nothing, not even the answer to a ping.
    #[error("the websocket did not answer a ping within {} s", after.as_secs_f32())]
    Silent {
        /// How long the ping stayed unanswered.
        after: Duration,
    },
}

impl CallFault {
    /// The message without any text of the backend, which may quote the workflow.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::Status { code, .. } => format!("answered {code}"),
            Self::Malformed { .. } => "the answer cannot be understood".to_owned(),
            other => other.to_string(),
        }
    }

    /// The fault of a failed HTTP exchange; `timeout` is the time that it was allowed.
    pub(super) fn from_exchange(error: &reqwest::Error, timeout: Duration) -> Self {
        if error.is_connect() {
            let reason = if is_not_tls(error) {
                "the backend does not speak TLS; should its URL begin with http://?".to_owned()
            } else {
                innermost_message(error)
            };
            return Self::Unreachable { refused: is_refused(error), reason };
        }
        if is_not_http(error) {
            return Self::Broken {
                reason: "the answer is not HTTP; should the URL begin with https://?".to_owned(),
            };
        }
        if error.is_timeout() {
            return Self::Timeout { after: timeout };
        }
        Self::Broken { reason: innermost_message(error) }
    }

    /// The fault of a failed websocket: in its handshake, or later if `connected`.
    pub(super) fn from_websocket(error: tokio_tungstenite::tungstenite::Error, connected: bool) -> Self {
        use tokio_tungstenite::tungstenite::Error;
        match error {
            Error::Http(response) => {
                let body = response.body().as_deref().unwrap_or_default();
                Self::from_status(response.status().as_u16(), body)
            }
            Error::ConnectionClosed | Error::AlreadyClosed => Self::Closed { code: None },
            Error::Capacity(error) => Self::Malformed { reason: error.to_string() },
            error if connected => Self::Broken { reason: innermost_message(&error) },
            error => Self::Unreachable { refused: is_refused(&error), reason: innermost_message(&error) },
        }
    }

    pub(super) fn from_status(code: u16, body: &[u8]) -> Self {
        if code == 404 { Self::NotFound } else { Self::Status { code, body: excerpt(body) } }
    }
}

/// The beginning of a body on one line, at most 500 characters long.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|character| !character.is_control()).take(500).collect()
}

/// The message of the innermost error. The outer ones say only that a request failed, and may show the URL.
fn innermost_message(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

/// Whether the answer to our TLS handshake was not TLS.
fn is_not_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_invalid = |error: &(dyn std::error::Error + 'static)| {
        matches!(error.downcast_ref(), Some(rustls::Error::InvalidMessage(_)))
    };
    // `io::Error::source` skips the error that it wraps, so the wrapped one is inspected here.
    let within = |error: &(dyn std::error::Error + 'static)| {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.is_some_and(|inner| is_invalid(inner) || is_not_tls(inner))
    };
    causes(error).any(|cause| is_invalid(cause) || within(cause))
}

fn is_not_http(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>()).any(hyper::Error::is_parse)
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_route_url_and_fault() {
        let error = ComfyError {
            route: ComfyRoute::get("/queue"),
            url: "http://gpu:8188".into(),
            fault: CallFault::from_status(502, b"<html>\r\n  Bad\tGateway\0\n"),
        };
        assert_eq!(error.to_string(), "GET /queue at http://gpu:8188: answered 502: <html> Bad Gateway");
        assert_eq!(error.brief(), "GET /queue at http://gpu:8188: answered 502");
        assert_eq!(error.status(), Some(502));
        assert_eq!(CallFault::from_status(403, b"").to_string(), "answered 403");
        assert_eq!(CallFault::from_status(404, b"x"), CallFault::NotFound);
    }

    #[test]
    fn a_long_body_is_cut_between_characters() {
        let CallFault::Status { body, .. } = CallFault::from_status(500, "é".repeat(5000).as_bytes()) else {
            panic!()
        };
        assert_eq!(body.chars().count(), 500);
    }

    #[test]
    fn a_closed_websocket_shows_its_code() {
        assert_eq!(
            CallFault::Closed { code: Some(1001) }.to_string(),
            "the websocket was closed with code 1001"
        );
        assert_eq!(CallFault::Closed { code: None }.to_string(), "the websocket was closed");
    }
}
