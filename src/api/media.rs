//! `/media`: serves the output files of jobs.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::extract::{FilePath, PromptIdPath};
use super::problem::{GONE, INVALID_PROMPT_ID, NOT_FOUND, Problem, RANGE_NOT_SATISFIABLE};
use super::problem_responses::{STORE_READ, problem_responses};
use super::ranges::{ServedFile, serve};
use super::state::ApiState;
use crate::domain::media::display_name;

problem_responses!(GetMediaProblems: &[INVALID_PROMPT_ID, NOT_FOUND, GONE, RANGE_NOT_SATISFIABLE], STORE_READ);

/// Downloads an output file of a job.
#[utoipa::path(
    get, path = "/media/{prompt_id}/{file}", tag = "media", operation_id = "get_media",
    params(
        ("prompt_id" = String, Path, format = "uuid", description = "The job's id"),
        ("file" = String, Path, description = "The file's name, as in the URLs of the result"),
        ("Range" = Option<String>, Header, description = "A single byte range, such as `bytes=0-499`"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier response"),
    ),
    responses(
        (status = 200, description = "The file", body = [u8], content_type = "*/*", headers(("ETag" = String, description = "A strong validator"))),
        (status = 206, description = "The requested range", body = [u8], content_type = "*/*", headers(("Content-Range" = String, description = "The range and the file's length"))),
        (status = 304, description = "The file is unchanged"),
        GetMediaProblems,
    )
)]
pub async fn get(
    State(state): State<ApiState>,
    PromptIdPath(id): PromptIdPath,
    FilePath(name): FilePath,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    // The file is opened under the name that the store recorded, so a request cannot smuggle in a path.
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
