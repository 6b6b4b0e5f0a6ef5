//! `/files`: uploads, serves and deletes files that later requests use as parameter values.

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{BaseUrl, FileIdPath};
use super::form::{FileForm, FormFile};
use super::problem::{
    INVALID_REQUEST, MALFORMED_FORM, NOT_FOUND, Problem, RANGE_NOT_SATISFIABLE, STORAGE_UNAVAILABLE,
};
use super::problem_responses::{BODY_READ, STORE_READ, STORE_WRITE, problem_responses};
use super::ranges::{ServedFile, serve};
use super::state::ApiState;
use crate::store::FileRecord;

/// An uploaded file.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadedFile {
    /// The file's id. `{"file": "<id>"}` is the value of a media parameter. Anyone who knows the id can use and download
    /// the file.
    #[schema(format = "uuid")]
    file: String,
    /// The file's name, made safe to display and to save.
    filename: String,
    /// The media type, detected from the content.
    content_type: String,
    /// The length in bytes.
    bytes: u64,
    /// The lowercase hexadecimal SHA-256 of the file's bytes.
    sha256: String,
    /// When the file was uploaded, in UTC.
    created_at: String,
    /// When the gateway deletes the file, in UTC; `null` if it is kept until it is deleted on request.
    expires_at: Option<String>,
    /// The URL of the file's bytes.
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

problem_responses!(UploadFileProblems: &[MALFORMED_FORM, INVALID_REQUEST, STORAGE_UNAVAILABLE], STORE_WRITE, BODY_READ);

/// Uploads a file for later use.
///
/// The body is a multipart form with one part of any name, up to `max_file` bytes. Use the returned id as the value of a
/// media parameter, any number of times: `{"file": "<id>"}`. Identical files are stored once.
#[utoipa::path(
    post, path = "/files", tag = "files", operation_id = "upload_file",
    request_body(content = FileForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "The file was stored", body = UploadedFile, headers(("Location" = String, description = "The path of the file's bytes"))),
        UploadFileProblems,
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

problem_responses!(GetFileProblems: &[NOT_FOUND, RANGE_NOT_SATISFIABLE], STORE_READ);

/// Downloads an uploaded file.
#[utoipa::path(
    get, path = "/files/{file_id}", tag = "files", operation_id = "get_file",
    params(
        ("file_id" = String, Path, format = "uuid", description = "The file's id"),
        ("Range" = Option<String>, Header, description = "A single byte range, such as `bytes=0-499`"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier response"),
    ),
    responses(
        (status = 200, description = "The file", body = [u8], content_type = "*/*", headers(("ETag" = String, description = "A strong validator"))),
        (status = 206, description = "The requested range", body = [u8], content_type = "*/*", headers(("Content-Range" = String, description = "The range and the file's length"))),
        (status = 304, description = "The file is unchanged"),
        GetFileProblems,
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

problem_responses!(DeleteFileProblems: &[NOT_FOUND], STORE_WRITE);

/// Deletes an uploaded file.
///
/// Unfinished jobs that use the file keep its bytes until they end.
#[utoipa::path(
    delete, path = "/files/{file_id}", tag = "files", operation_id = "delete_file",
    params(("file_id" = String, Path, format = "uuid", description = "The file's id")),
    responses(
        (status = 204, description = "The file was deleted"),
        DeleteFileProblems,
    )
)]
pub async fn delete(
    State(state): State<ApiState>,
    FileIdPath(id): FileIdPath,
) -> Result<StatusCode, Problem> {
    state.service.delete_file(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
