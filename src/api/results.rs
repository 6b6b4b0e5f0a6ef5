//! `/results`: returns, lists, cancels and deletes jobs.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::{ETAG, IF_NONE_MATCH, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode, request::Parts};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::dto::{ExecuteResult, ResultPage};
use super::extract::{BaseUrl, PreferWait, PromptIdPath, QueryParams, wanted_wait};
use super::problem::{self, GONE, INVALID_PROMPT_ID, INVALID_QUERY, NOT_FOUND, Problem, UNFINISHED};
use super::problem_responses::{STORE_READ, STORE_WRITE, problem_responses};
use super::state::ApiState;
use crate::domain::job::JobStatus;
use crate::domain::registered::WorkflowRef;
use crate::store::PageCursor;

/// The `Retry-After` of a job that has not ended.
pub const POLL_AGAIN: Duration = Duration::from_secs(1);
/// The default and the largest number of jobs on a page.
const PAGE: (u32, u32) = (20, 100);

problem_responses!(GetResultProblems: &[INVALID_PROMPT_ID, INVALID_QUERY, NOT_FOUND, GONE], STORE_READ);

/// Returns a job and its result.
#[utoipa::path(
    get, path = "/results/{prompt_id}", tag = "jobs", operation_id = "get_result",
    params(
        ("prompt_id" = String, Path, format = "uuid", description = "The job's id"),
        ("wait" = Option<f64>, Query, minimum = 0, description = "Wait up to this many seconds for the job to end before responding"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: the same as the query parameter `wait`"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier response"),
    ),
    responses(
        (status = 200, description = "The job has ended: it completed, failed or was cancelled", body = ExecuteResult, headers(("ETag" = String, description = "A strong validator"))),
        (status = 202, description = "The job has not ended", body = ExecuteResult,
         headers(("ETag" = String, description = "A strong validator"), ("Retry-After" = u64, description = "Seconds to wait before the next request"))),
        (status = 304, description = "The job is unchanged"),
        GetResultProblems,
    )
)]
pub async fn get(
    State(state): State<ApiState>,
    PromptIdPath(id): PromptIdPath,
    base: BaseUrl,
    parts: Parts,
) -> Result<Response, Problem> {
    let mut query = QueryParams::read(&parts, &["wait"]);
    let wait = wanted_wait(&mut query, &parts, state.limits.max_wait);
    query.finish()?;
    let view = state.service.result(id, wait.time).await?;
    answer(&ExecuteResult::new(view, &base), &parts.headers, wait)
}

fn answer(result: &ExecuteResult, asked: &HeaderMap, wait: PreferWait) -> Result<Response, Problem> {
    let body = serde_json::to_vec(result)
        .map_err(|_| Problem::new(problem::INTERNAL, "the gateway could not write the result as JSON"))?;
    let etag = etag(&body);
    let status = if result.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = if matches(asked, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        (status, [("content-type", "application/json")], body).into_response()
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    if status == StatusCode::ACCEPTED {
        headers.insert(RETRY_AFTER, HeaderValue::from(POLL_AGAIN.as_secs()));
    }
    if let (true, Ok(applied)) =
        (wait.preferred, HeaderValue::from_str(&format!("wait={}", wait.time.as_secs_f64())))
    {
        headers.insert("preference-applied", applied);
    }
    Ok(response)
}

fn etag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let hex =
        digest.iter().take(16).fold(String::with_capacity(32), |hex, byte| hex + &format!("{byte:02x}"));
    format!("\"{hex}\"")
}

/// Whether one of the `If-None-Match` tags is `etag`, by weak comparison (RFC 9110, 13.1.2).
pub fn matches(asked: &HeaderMap, etag: &str) -> bool {
    asked
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}

problem_responses!(ListResultsProblems: &[INVALID_QUERY], STORE_READ);

/// Lists jobs, newest first.
#[utoipa::path(
    get, path = "/results", tag = "jobs", operation_id = "list_results",
    params(
        ("status" = Option<super::dto::JobStatusSchema>, Query, description = "Return only jobs with this status"),
        ("workflow" = Option<String>, Query, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[1-9][0-9]{0,8})?$", description = "Return only jobs of this registered workflow; with `@version`, only of that version"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "The most jobs on a page; 20 by default"),
        ("cursor" = Option<String>, Query, pattern = "^c[0-7]?[0-9a-f]{1,15}$", description = "`next_cursor` of the previous page"),
    ),
    responses(
        (status = 200, description = "A page of jobs", body = ResultPage),
        ListResultsProblems,
    )
)]
pub async fn list(
    State(state): State<ApiState>,
    base: BaseUrl,
    parts: Parts,
) -> Result<axum::Json<ResultPage>, Problem> {
    let mut query = QueryParams::read(&parts, &["status", "workflow", "limit", "cursor"]);
    let statuses = "one of queued, running, completed, failed, cancelled";
    let status = query.parse("status", statuses, JobStatus::parse);
    let names = "a workflow's name, with or without its version, such as portrait or portrait@3";
    let workflow = query.parse("workflow", names, |text| WorkflowRef::parse(text).ok());
    let (usual, most) = PAGE;
    let in_range = |limit: &u32| (1..=most).contains(limit);
    let limit =
        query.parse("limit", "a whole number from 1 to 100", |text| text.parse().ok().filter(in_range));
    let cursor = query.parse("cursor", "the `next_cursor` of a page from this gateway", read_cursor);
    query.finish()?;
    let page = state.service.list(status, workflow.as_ref(), cursor, limit.unwrap_or(usual)).await?;
    let results = page.jobs.into_iter().map(|view| ExecuteResult::new(view, &base)).collect();
    Ok(axum::Json(ResultPage { results, next_cursor: page.next.map(write_cursor) }))
}

/// Writes a cursor, which is opaque to clients. The prefix makes a value from elsewhere recognizable.
fn write_cursor(PageCursor(seq): PageCursor) -> String {
    format!("c{seq:x}")
}

fn read_cursor(text: &str) -> Option<PageCursor> {
    let plain =
        |digits: &&str| digits.len() <= 16 && digits.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    let digits = text.strip_prefix('c').filter(plain)?;
    i64::from_str_radix(digits, 16).ok().map(PageCursor)
}

problem_responses!(CancelProblems: &[INVALID_PROMPT_ID, NOT_FOUND, GONE], STORE_WRITE);

/// Cancels a job.
///
/// A queued job ends at once. A running job ends as soon as its backend confirms. Cancelling a job that has ended has no
/// effect.
#[utoipa::path(
    post, path = "/results/{prompt_id}/cancel", tag = "jobs", operation_id = "cancel",
    params(("prompt_id" = String, Path, format = "uuid", description = "The job's id")),
    responses(
        (status = 200, description = "The job has ended", body = ExecuteResult),
        (status = 202, description = "The job is running; its backend has been asked to cancel it", body = ExecuteResult),
        CancelProblems,
    )
)]
pub async fn cancel(
    State(state): State<ApiState>,
    PromptIdPath(id): PromptIdPath,
    base: BaseUrl,
) -> Result<Response, Problem> {
    let result = ExecuteResult::new(state.service.cancel(id).await?, &base);
    let status = if result.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, axum::Json(result)).into_response())
}

problem_responses!(DeleteResultProblems: &[INVALID_PROMPT_ID, NOT_FOUND, UNFINISHED, GONE], STORE_WRITE);

/// Deletes a job that has ended, and its output files.
#[utoipa::path(
    delete, path = "/results/{prompt_id}", tag = "jobs", operation_id = "delete_result",
    params(("prompt_id" = String, Path, format = "uuid", description = "The job's id")),
    responses(
        (status = 204, description = "The job was deleted"),
        DeleteResultProblems,
    )
)]
pub async fn delete(
    State(state): State<ApiState>,
    PromptIdPath(id): PromptIdPath,
) -> Result<StatusCode, Problem> {
    state.service.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went_and_others_are_refused() {
        assert_eq!(read_cursor(&write_cursor(PageCursor(i64::MAX))), Some(PageCursor(i64::MAX)));
        for text in ["", "c", "5", "c-5", "cg", "c+5", "cF", "c00000000000000001", "cffffffffffffffff"] {
            assert_eq!(read_cursor(text), None, "{text}");
        }
    }
}
