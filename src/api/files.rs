//! `/files`: files that are brought for later use as values of parameters.

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{BaseUrl, FileIdPath};
use super::form::{FileForm, FormFile};
use super::problem::{Problem, ProblemBody};
use super::ranges::{ServedFile, serve};
use super::state::ApiState;
use crate::store::FileRecord;

/// A file that was brought.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadedFile {
    /// Its id. As the value of a media parameter: `{"file": "<id>"}`. Whoever knows it may use and fetch the file.
    #[schema(format = "uuid")]
    file: String,
    /// Its name, as it can be shown and saved under.
    filename: String,
    /// Its media type, told by its content.
    content_type: String,
    /// Its length in bytes.
    bytes: u64,
    /// The lowercase hexadecimal SHA-256 of its bytes.
    sha256: String,
    /// When it came, in UTC.
    created_at: String,
    /// When it will be forgotten, in UTC.
    expires_at: Option<String>,
    /// Where its bytes are.
    url: String,
}

impl UploadedFile {
    fn new(file: FileRecord, base: &BaseUrl) -> Self {
        Self {
            url: base.join(&format!("/files/{}", file.id)),
            file: file.id.to_string(),
            filename: file.filename,
            content_type: file.content_type,
            bytes: file.bytes,
            sha256: file.sha256,
            created_at: file.created_at.to_string(),
            expires_at: file.expires_at.map(|at| at.to_string()),
        }
    }
}

/// Brings a file for later.
///
/// One part of a multipart form, of any name, up to `max_file` bytes. Its id is the value of a media parameter as often
/// as needed: `{"file": "<id>"}`. The same bytes are stored once.
#[utoipa::path(
    post, path = "/files", tag = "files", operation_id = "upload_file",
    request_body(content = FileForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "The file is kept", body = UploadedFile, headers(("Location" = String, description = "Where its bytes are"))),
        (status = 400, description = "`malformed_form`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`, `disk_full`, `storage_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn upload(
    State(state): State<ApiState>,
    base: BaseUrl,
    FormFile { filename, incoming }: FormFile,
) -> Result<Response, Problem> {
    let file = state.service.keep_file(&filename, incoming).await?;
    let path = format!("/files/{}", file.id);
    let mut response = (StatusCode::CREATED, axum::Json(UploadedFile::new(file, &base))).into_response();
    if let Ok(location) = HeaderValue::from_str(&path) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// A file that was brought.
#[utoipa::path(
    get, path = "/files/{file_id}", tag = "files", operation_id = "get_file",
    params(
        ("file_id" = String, Path, format = "uuid", description = "The file's id"),
        ("Range" = Option<String>, Header, description = "`bytes=0-499`: only that part"),
        ("If-None-Match" = Option<String>, Header, description = "An `ETag` of before"),
    ),
    responses(
        (status = 200, description = "The file", body = [u8], content_type = "*/*", headers(("ETag" = String, description = "Strong"))),
        (status = 206, description = "The part asked for", body = [u8], content_type = "*/*", headers(("Content-Range" = String, description = "Which part"))),
        (status = 304, description = "Nothing changed since the `ETag`"),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 416, description = "`range_not_satisfiable`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    State(state): State<ApiState>,
    FileIdPath(id): FileIdPath,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let file = state.service.uploaded(id).await?;
    let served = ServedFile {
        sha256: &file.sha256,
        bytes: file.bytes,
        content_type: &file.content_type,
        name: &file.filename,
        cache: "private, max-age=31536000, immutable",
    };
    serve(&asked, served, |range| async { Ok(state.service.uploaded_bytes(&file, range).await?) }).await
}

/// Forgets a file.
///
/// Jobs that were given it keep its bytes until they end.
#[utoipa::path(
    delete, path = "/files/{file_id}", tag = "files", operation_id = "delete_file",
    params(("file_id" = String, Path, format = "uuid", description = "The file's id")),
    responses(
        (status = 204, description = "It is forgotten"),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`, `disk_full`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(state): State<ApiState>,
    FileIdPath(id): FileIdPath,
) -> Result<StatusCode, Problem> {
    state.service.forget_file(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
