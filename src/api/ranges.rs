//! Serves stored files with byte ranges, a strong `ETag`, and headers that make them harmless in a browser.

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::problem::{self, Problem};
use super::results::matches;
use crate::domain::media::safe_name;
use crate::media::ByteSource;

/// A file as it is served.
#[derive(Debug, Clone, Copy)]
pub struct ServedFile<'a> {
    /// The lowercase hexadecimal SHA-256 of the file's bytes; becomes the `ETag`.
    pub sha256: &'a str,
    /// The length in bytes.
    pub bytes: u64,
    /// The media type.
    pub content_type: &'a str,
    /// The file name for `Content-Disposition`, in any script.
    pub name: &'a str,
    /// The value of `Cache-Control`.
    pub cache: &'static str,
}

/// The part of a file that a request selects.
#[derive(Debug, PartialEq, Eq)]
enum FilePart {
    Whole,
    Range(Range<u64>),
    Unsatisfiable,
}

/// Responds to a request with the headers `asked`. `open` returns the bytes of a range.
///
/// # Errors
/// The error of `open`. An unsatisfiable range is a 416 response, not an error.
pub async fn serve<O, F>(asked: &HeaderMap, file: ServedFile<'_>, open: O) -> Result<Response, Problem>
where
    O: FnOnce(Range<u64>) -> F,
    F: Future<Output = Result<ByteSource<'static>, Problem>>,
{
    let etag = format!("\"{}\"", file.sha256);
    if matches(asked, &etag) {
        return Ok(with_headers(StatusCode::NOT_MODIFIED.into_response(), &file, &etag));
    }
    let (status, range) = match part(asked, &etag, file.bytes) {
        FilePart::Whole => (StatusCode::OK, 0..file.bytes),
        FilePart::Range(range) => (StatusCode::PARTIAL_CONTENT, range),
        FilePart::Unsatisfiable => {
            let problem = Problem::new(
                problem::RANGE_NOT_SATISFIABLE,
                format!("the requested range is outside the file, which has {} bytes", file.bytes),
            )
            .limit(file.bytes);
            let mut response = problem.into_response();
            insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", file.bytes));
            return Ok(response);
        }
    };
    let bytes = open(range.clone()).await?;
    let mut response = with_headers((status, Body::from_stream(bytes)).into_response(), &file, &etag);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if status == StatusCode::PARTIAL_CONTENT {
        insert(headers, CONTENT_RANGE, &format!("bytes {}-{}/{}", range.start, range.end - 1, file.bytes));
    }
    Ok(response)
}

fn insert(headers: &mut HeaderMap, name: axum::http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn with_headers(mut response: Response, file: &ServedFile<'_>, etag: &str) -> Response {
    let headers = response.headers_mut();
    insert(headers, ETAG, etag);
    insert(headers, CONTENT_TYPE, file.content_type);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(file.cache));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A node may write HTML or SVG. Its scripts must not run in the gateway's origin.
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    );
    let shown =
        ["image/", "video/", "audio/", "text/plain"].iter().any(|kind| file.content_type.starts_with(kind));
    let disposition = if shown { "inline" } else { "attachment" };
    insert(headers, CONTENT_DISPOSITION, &format!("{disposition}; {}", filename(file.name)));
    response
}

/// Percent-encodes all characters except letters, digits and those that RFC 5987 allows in an extended value.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The file name as parameters of `Content-Disposition` (RFC 6266): in ASCII for old clients, and unchanged for others.
fn filename(name: &str) -> String {
    let plain = safe_name(name);
    if plain == name {
        return format!("filename=\"{plain}\"");
    }
    format!("filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(name, PLAIN))
}

/// The part that `Range` selects (RFC 9110, 14.2). The whole file is selected if the header has several ranges, another
/// unit, an invalid range or a number beyond 64 bits, or if `If-Range` names another version.
fn part(asked: &HeaderMap, etag: &str, bytes: u64) -> FilePart {
    let stale = asked.get(IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes());
    let range =
        asked.get(RANGE).filter(|_| !stale).and_then(|value| value.to_str().ok()).and_then(AskedRange::read);
    match range {
        None => FilePart::Whole,
        Some(AskedRange::Last(0)) => FilePart::Unsatisfiable,
        Some(AskedRange::Last(_)) if bytes == 0 => FilePart::Unsatisfiable,
        Some(AskedRange::Last(count)) => FilePart::Range(bytes.saturating_sub(count)..bytes),
        Some(AskedRange::From(first, _)) if first >= bytes => FilePart::Unsatisfiable,
        Some(AskedRange::From(first, last)) => {
            FilePart::Range(first..last.map_or(bytes, |last| last.saturating_add(1).min(bytes)))
        }
    }
}

/// A range as the header writes it, before the file's length is applied.
enum AskedRange {
    /// The first byte, and the last byte (inclusive) or the end of the file.
    From(u64, Option<u64>),
    /// A number of bytes at the end of the file.
    Last(u64),
}

impl AskedRange {
    fn read(header: &str) -> Option<Self> {
        let (unit, range) = header.split_once('=')?;
        let (first, last) = range.trim().split_once('-')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        match (first, last) {
            ("", last) => number(last).map(Self::Last),
            (first, "") => Some(Self::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }
}

/// Parses a number that consists only of digits: `u64::from_str` would also accept a plus sign.
fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
#[path = "ranges_tests.rs"]
mod tests;
