//! Stored files as answers: by ranges, with a strong tag, harmless in a browser. It must not know whose file it is.

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
use crate::media::Source;

/// A file as it is served.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// The lowercase hexadecimal SHA-256 of its bytes.
    pub sha256: &'a str,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its media type.
    pub content_type: &'a str,
    /// A name to save it under, in any script.
    pub name: &'a str,
    /// Who may keep a copy.
    pub cache: &'static str,
}

/// The part of a file that is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Range(Range<u64>),
    Unsatisfiable,
}

/// The answer to a request with those headers; `open` gives the bytes of a range.
pub async fn serve<O, F>(asked: &HeaderMap, file: Served<'_>, open: O) -> Result<Response, Problem>
where
    O: FnOnce(Range<u64>) -> F,
    F: Future<Output = Result<Source<'static>, Problem>>,
{
    let etag = format!("\"{}\"", file.sha256);
    if matches(asked, &etag) {
        return Ok(with_headers(StatusCode::NOT_MODIFIED.into_response(), &file, &etag));
    }
    let (status, range) = match part(asked, &etag, file.bytes) {
        Part::Whole => (StatusCode::OK, 0..file.bytes),
        Part::Range(range) => (StatusCode::PARTIAL_CONTENT, range),
        Part::Unsatisfiable => {
            let problem =
                Problem::new(problem::RANGE_NOT_SATISFIABLE, format!("the file has {} bytes", file.bytes))
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

fn with_headers(mut response: Response, file: &Served<'_>, etag: &str) -> Response {
    let headers = response.headers_mut();
    insert(headers, ETAG, etag);
    insert(headers, CONTENT_TYPE, file.content_type);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(file.cache));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A node may write HTML or SVG: shown from our origin, its scripts must not run.
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

/// What RFC 5987 lets stand in an extended value besides letters and digits.
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

/// The name of a file as parameters of `Content-Disposition` (RFC 6266): in ASCII for old clients, and as it is.
fn filename(name: &str) -> String {
    let plain = safe_name(name);
    if plain == name {
        return format!("filename=\"{plain}\"");
    }
    format!("filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(name, PLAIN))
}

/// The part that `Range` asks for (RFC 9110, 14.2): several ranges, a unit that is not `bytes` and an `If-Range` of
/// another version mean the whole file.
fn part(asked: &HeaderMap, etag: &str, bytes: u64) -> Part {
    let Some(range) = asked.get(RANGE).and_then(|value| value.to_str().ok()) else { return Part::Whole };
    let stale = asked.get(IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes());
    if stale || !range.trim_start().to_ascii_lowercase().starts_with("bytes") {
        return Part::Whole;
    }
    // Of an empty file there is no part; the parser would find one.
    if bytes == 0 {
        return Part::Unsatisfiable;
    }
    let Ok(parsed) = http_range_header::parse_range_header(range) else { return Part::Unsatisfiable };
    match parsed.validate(bytes) {
        Ok(ranges) if ranges.len() == 1 => Part::Range(*ranges[0].start()..*ranges[0].end() + 1),
        Ok(_) => Part::Whole,
        Err(_) => Part::Unsatisfiable,
    }
}

#[cfg(test)]
#[path = "ranges_tests.rs"]
mod tests;
