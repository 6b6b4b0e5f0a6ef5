//! Replaces the responses that hyper writes itself, for requests that it cannot parse, by problem responses.

use axum::http::StatusCode;

use crate::api::problem::{self, Problem, ProblemKind};

/// The response to send instead of `head`, if hyper wrote `head` itself. Such a response has no body and no request id. The
/// replacement gets its request id from `new_id`.
pub(super) fn answer(head: &[u8], new_id: impl FnOnce() -> String) -> Option<Vec<u8>> {
    let head = std::str::from_utf8(head).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    if !head.ends_with("\r\n\r\n") || head.contains("\r\nx-request-id: ") {
        return None;
    }
    let (kind, detail) = refusal(status)?;
    let request_id = new_id();
    tracing::debug!(request_id, code = kind.code, "a request could not be parsed");
    let body = serde_json::to_string(&Problem::new(kind, detail).body(&request_id)).ok()?;
    let reason = kind.status.canonical_reason().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/problem+json\r\nx-request-id: {request_id}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Some([head, body].concat().into_bytes())
}

fn refusal(status: &str) -> Option<(ProblemKind, &'static str)> {
    let of = |status: StatusCode| match status {
        StatusCode::BAD_REQUEST => Some((
            problem::MALFORMED_REQUEST,
            "the request's first line or one of its headers is not valid HTTP/1.1; the connection is closed",
        )),
        StatusCode::URI_TOO_LONG => Some((
            problem::URI_TOO_LONG,
            "the request's URL is too long; send large values in the body of a POST",
        )),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Some((
            problem::HEADERS_TOO_LARGE,
            "the request has more than 100 headers, or more than 400 KiB of them; send fewer or shorter ones",
        )),
        _ => None,
    };
    of(StatusCode::from_bytes(status.as_bytes()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_refusal_is_replaced() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let answer = |head: &str| {
            answer(head.as_bytes(), || "id-1".to_owned()).map(|text| String::from_utf8(text).unwrap())
        };
        let replaced = answer(bare).unwrap();
        assert!(replaced.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{replaced}");
        assert!(
            replaced.contains("\r\nx-request-id: id-1\r\n") && replaced.contains(r#""request_id":"id-1""#)
        );
        for other in [
            &bare.replace("431", "404"),
            &bare.replace("date", "x-request-id"),
            &bare.replace("HTTP/1.1", "HTTP/1.0"),
            &bare.replace("\r\n\r\n", "\r\n\r\nx"),
            "",
        ] {
            assert_eq!(answer(other), None, "{other}");
        }
    }
}
