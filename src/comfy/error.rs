//! What can go wrong when talking to a ComfyUI server. It must not decide what to do about it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::routes::ComfyRoute;

/// A call that failed: which one, where, and how. Cheap to clone and safe to show: it holds no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{route} at {server}: {fault}")]
pub struct ComfyError {
    /// The route that was called.
    pub route: ComfyRoute,
    /// The server's address without credentials or query.
    pub server: Arc<str>,
    /// What went wrong.
    pub fault: CallFault,
}

impl ComfyError {
    /// The same without a word of the server's own, which may quote what it was sent: for the log.
    #[must_use]
    pub fn brief(&self) -> String {
        format!("{} at {}: {}", self.route, self.server, self.fault.brief())
    }

    /// Nothing listens at the server's port: it is down or starting.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.fault, CallFault::Unreachable { refused: true, .. })
    }

    /// No connection came to be, so the server has seen nothing of the call.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self.fault, CallFault::Unreachable { .. })
    }

    /// The server answered 404.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.fault == CallFault::NotFound
    }

    /// The status the server answered with, if it was not one of success.
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
    /// No connection: nothing of the call has been delivered.
    #[error("no connection: {reason}")]
    Unreachable {
        /// Nothing listens there.
        refused: bool,
        /// What the connection attempt ended with.
        reason: String,
    },
    /// The answer did not come in time; the server may have done what was asked.
    #[error("no answer within {} s", after.as_secs_f32())]
    Timeout {
        /// The time that was waited.
        after: Duration,
    },
    /// The connection broke on the way; the server may have done what was asked.
    #[error("the connection broke: {reason}")]
    Broken {
        /// What it broke with.
        reason: String,
    },
    /// 404.
    #[error("answered 404: not found")]
    NotFound,
    /// An answer that is neither success nor 404, redirects included.
    #[error("answered {code}{}{body}", if body.is_empty() { "" } else { ": " })]
    Status {
        /// The HTTP status.
        code: u16,
        /// The first characters of the body, on one line.
        body: String,
    },
    /// An answer of success that is not what ComfyUI answers.
    #[error("the answer cannot be understood: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// An answer larger than the limit of [`super::AnswerLimits`].
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The websocket was closed by the server.
    #[error("the websocket was closed{}", code.map(|code| format!(" with code {code}")).unwrap_or_default())]
    Closed {
        /// The close code, if a close frame came; a server that dies sends none.
        code: Option<u16>,
    },
    /// Nothing came on the websocket, not even the answer to a ping.
    #[error("no sign of life on the websocket for {} s", after.as_secs_f32())]
    Silent {
        /// How long a ping stayed without an answer.
        after: Duration,
    },
}

impl CallFault {
    /// The same without a word of the server's own, which may quote what it was sent.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::Status { code, .. } => format!("answered {code}"),
            Self::Malformed { .. } => "the answer cannot be understood".to_owned(),
            other => other.to_string(),
        }
    }

    /// What a failed exchange amounts to; `patience` is the time that was allowed.
    pub(super) fn of_exchange(error: &reqwest::Error, patience: Duration) -> Self {
        if error.is_connect() {
            let reason = if is_not_tls(error) {
                "the server does not speak TLS there; does its url begin with http://?".to_owned()
            } else {
                deepest(error)
            };
            return Self::Unreachable { refused: is_refused(error), reason };
        }
        if is_not_http(error) {
            return Self::Broken {
                reason: "what the server answers is not HTTP; does its url begin with https://?".to_owned(),
            };
        }
        if error.is_timeout() {
            return Self::Timeout { after: patience };
        }
        Self::Broken { reason: deepest(error) }
    }

    /// What a failed websocket amounts to, in its handshake or later.
    pub(super) fn of_websocket(error: tokio_tungstenite::tungstenite::Error, connected: bool) -> Self {
        use tokio_tungstenite::tungstenite::Error;
        match error {
            Error::Http(response) => {
                let body = response.body().as_deref().unwrap_or_default();
                Self::of_status(response.status().as_u16(), body)
            }
            Error::ConnectionClosed | Error::AlreadyClosed => Self::Closed { code: None },
            Error::Capacity(error) => Self::Malformed { reason: error.to_string() },
            error if connected => Self::Broken { reason: deepest(&error) },
            error => Self::Unreachable { refused: is_refused(&error), reason: deepest(&error) },
        }
    }

    pub(super) fn of_status(code: u16, body: &[u8]) -> Self {
        if code == 404 { Self::NotFound } else { Self::Status { code, body: excerpt(body) } }
    }
}

/// The beginning of a body on one line, at most 500 characters long.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|character| !character.is_control()).take(500).collect()
}

/// The innermost error's message: the outer ones say only that a request failed, and may show the url.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

/// What came in answer to our TLS is something else.
fn is_not_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_it = |error: &(dyn std::error::Error + 'static)| {
        matches!(error.downcast_ref(), Some(rustls::Error::InvalidMessage(_)))
    };
    // An I/O error's source is that of the error in it, which it passes over.
    let within = |error: &(dyn std::error::Error + 'static)| {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.is_some_and(|inner| is_it(inner) || is_not_tls(inner))
    };
    causes(error).any(|cause| is_it(cause) || within(cause))
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
    fn the_message_names_route_server_and_fault() {
        let error = ComfyError {
            route: ComfyRoute::get("/queue"),
            server: "http://gpu:8188".into(),
            fault: CallFault::of_status(502, b"<html>\r\n  Bad\tGateway\0\n"),
        };
        assert_eq!(error.to_string(), "GET /queue at http://gpu:8188: answered 502: <html> Bad Gateway");
        assert_eq!(error.brief(), "GET /queue at http://gpu:8188: answered 502");
        assert_eq!(error.status(), Some(502));
        assert_eq!(CallFault::of_status(403, b"").to_string(), "answered 403");
        assert_eq!(CallFault::of_status(404, b"x"), CallFault::NotFound);
    }

    #[test]
    fn a_long_body_is_cut_between_characters() {
        let CallFault::Status { body, .. } = CallFault::of_status(500, "é".repeat(5000).as_bytes()) else {
            panic!()
        };
        assert_eq!(body.chars().count(), 500);
    }

    #[test]
    fn a_closed_socket_says_its_code() {
        assert_eq!(
            CallFault::Closed { code: Some(1001) }.to_string(),
            "the websocket was closed with code 1001"
        );
        assert_eq!(CallFault::Closed { code: None }.to_string(), "the websocket was closed");
    }
}
