//! `/media`: the files of jobs.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::extract::{FilePath, PromptIdPath};
use super::problem::{Problem, ProblemBody};
use super::ranges::{ServedFile, serve};
use super::state::ApiState;
use crate::domain::media::display_name;

/// A file of a job.
#[utoipa::path(
    get, path = "/media/{prompt_id}/{file}", tag = "media", operation_id = "get_media",
    params(
        ("prompt_id" = String, Path, format = "uuid", description = "The job's id"),
        ("file" = String, Path, description = "The file's name, as in the result's URL"),
        ("Range" = Option<String>, Header, description = "`bytes=0-499`: only that part"),
        ("If-None-Match" = Option<String>, Header, description = "An `ETag` of before"),
    ),
    responses(
        (status = 200, description = "The file", body = [u8], content_type = "*/*", headers(("ETag" = String, description = "Strong"))),
        (status = 206, description = "The part asked for", body = [u8], content_type = "*/*", headers(("Content-Range" = String, description = "Which part"))),
        (status = 304, description = "Nothing changed since the `ETag`"),
        (status = 400, description = "`invalid_prompt_id`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 410, description = "`gone`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 416, description = "`range_not_satisfiable`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    State(state): State<ApiState>,
    PromptIdPath(id): PromptIdPath,
    FilePath(name): FilePath,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    // Only names that the store handed out are looked for: no path can be built of any other.
    let file = state.service.file(id, &name).await?;
    let served = ServedFile {
        sha256: &file.sha256,
        bytes: file.bytes,
        content_type: &file.content_type,
        name: &display_name(&file.filename),
        cache: "public, max-age=31536000, immutable",
    };
    serve(&asked, served, |range| async { Ok(state.service.bytes(id, &file.stored_as, range).await?) }).await
}
