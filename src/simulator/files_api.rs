//! Files over HTTP: `GET /view` and `POST /upload/…`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::{FromRequest, Multipart, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_range_header::parse_range_header;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::answers::{broken, json_body};
use super::files::FolderKind;
use super::server::{PersistentWorld, ServerLife};

#[derive(Deserialize)]
pub(super) struct ViewQuery {
    filename: Option<String>,
    #[serde(default)]
    subfolder: String,
    #[serde(rename = "type", default)]
    folder: Option<String>,
}

/// A file with Range, HEAD and 304. Re-encoding (`preview`, `channel`) is not imitated: the file comes as it is.
pub(super) async fn view(
    State(server): State<Arc<ServerLife>>,
    Query(wanted): Query<ViewQuery>,
    headers: HeaderMap,
) -> Response {
    let (name, path) = match locate(&server.world, wanted) {
        Ok(found) => found,
        Err(status) => return status.into_response(),
    };
    let Ok(meta) = tokio::fs::metadata(&path).await else { return StatusCode::NOT_FOUND.into_response() };
    let Ok(bytes) = tokio::fs::read(&path).await else { return StatusCode::NOT_FOUND.into_response() };
    let modified =
        meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let etag = format!("\"{:x}-{:x}\"", modified.as_nanos(), bytes.len());
    let seconds = i64::try_from(modified.as_secs()).unwrap_or_default();
    let mut base = HeaderMap::new();
    let mut put = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            base.insert(name, value);
        }
    };
    put(header::CONTENT_DISPOSITION, &format!("filename=\"{name}\""));
    put(header::CONTENT_TYPE, mime_guess::from_path(&path).first_or_octet_stream().as_ref());
    put(header::ETAG, &etag);
    put(header::LAST_MODIFIED, &http_date(seconds));
    put(header::ACCEPT_RANGES, "bytes");
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_NONE_MATCH).is_some_and(|tags| tags.contains(&etag) || tags == "*")
        || text(header::IF_MODIFIED_SINCE).and_then(parse_http_date).is_some_and(|since| seconds <= since)
    {
        return (StatusCode::NOT_MODIFIED, base).into_response();
    }
    ranged(text(header::RANGE), base, bytes.into())
}

fn locate(world: &PersistentWorld, wanted: ViewQuery) -> Result<(String, PathBuf), StatusCode> {
    let name = wanted.filename.filter(|name| !name.is_empty()).ok_or(StatusCode::NOT_FOUND)?;
    if name.starts_with('/') || name.contains("..") {
        return Err(StatusCode::BAD_REQUEST);
    }
    let folder = match wanted.folder {
        None => FolderKind::Output,
        Some(folder) => FolderKind::parse(&folder).ok_or(StatusCode::BAD_REQUEST)?,
    };
    let directory = world.files.subfolder(folder, &wanted.subfolder).ok_or(StatusCode::FORBIDDEN)?;
    // As ComfyUI: only the last part of the name counts.
    let name = name.rsplit('/').next().unwrap_or(&name).to_owned();
    let path = directory.join(&name);
    if path.is_file() { Ok((name, path)) } else { Err(StatusCode::NOT_FOUND) }
}

fn ranged(range: Option<&str>, mut headers: HeaderMap, bytes: Bytes) -> Response {
    let size = bytes.len() as u64;
    let Some(range) = range.and_then(|range| parse_range_header(range).ok()) else {
        return (headers, bytes).into_response();
    };
    let Some(range) = range.validate(size).ok().and_then(|ranges| ranges.into_iter().next()) else {
        return (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, format!("bytes */{size}"))])
            .into_response();
    };
    let (from, to) = (*range.start(), *range.end());
    if let Ok(value) = HeaderValue::from_str(&format!("bytes {from}-{to}/{size}")) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
    (StatusCode::PARTIAL_CONTENT, headers, bytes.slice(at(from)..at(to + 1))).into_response()
}

/// `Sun, 22 Nov 2026 06:51:06 GMT`.
fn http_date(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| String::new(), |time| time.strftime("%a, %d %b %Y %T GMT").to_string())
}

fn parse_http_date(text: &str) -> Option<i64> {
    let date = jiff::civil::DateTime::strptime("%a, %d %b %Y %T GMT", text).ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[derive(Default)]
struct UploadForm {
    file: Option<(String, Bytes)>,
    subfolder: String,
    folder: Option<String>,
    overwrite: bool,
}

/// Stores the `image` part, whatever it is. `/upload/mask` does the same: masks are not merged.
pub(super) async fn upload(State(server): State<Arc<ServerLife>>, request: Request) -> Response {
    let Ok(mut parts) = Multipart::from_request(request, &()).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let upload = match read(&mut parts).await {
        Ok(upload) => upload,
        Err(response) => return response,
    };
    let Some((name, bytes)) = upload.file.filter(|(name, _)| !name.is_empty()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let folder = match upload.folder.as_deref() {
        None | Some("") => FolderKind::Input,
        Some(folder) => match FolderKind::parse(folder) {
            Some(folder) => folder,
            None => return broken(),
        },
    };
    match server.world.files.store_upload(folder, &upload.subfolder, &name, &bytes, upload.overwrite) {
        Ok(Some(name)) => {
            json_body(&json!({ "name": name, "subfolder": upload.subfolder, "type": folder.name() }))
        }
        Ok(None) => StatusCode::BAD_REQUEST.into_response(),
        Err(error) => {
            tracing::warn!(%error, "the simulator could not store an upload");
            broken()
        }
    }
}

async fn read(parts: &mut Multipart) -> Result<UploadForm, Response> {
    let mut upload = UploadForm::default();
    while let Some(part) = parts.next_field().await.map_err(IntoResponse::into_response)? {
        let name = part.name().unwrap_or_default().to_owned();
        if name == "image" {
            let file = part.file_name().unwrap_or_default().to_owned();
            upload.file = Some((file, part.bytes().await.map_err(IntoResponse::into_response)?));
            continue;
        }
        let text = part.text().await.map_err(IntoResponse::into_response)?;
        match name.as_str() {
            "subfolder" => upload.subfolder = text,
            "type" => upload.folder = Some(text),
            "overwrite" => upload.overwrite = text == "true" || text == "1",
            _ => {}
        }
    }
    Ok(upload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read_as_http_has_them() {
        let text = "Sun, 22 Nov 2026 06:51:06 GMT";
        let seconds = parse_http_date(text).unwrap();
        assert_eq!(http_date(seconds), text);
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
