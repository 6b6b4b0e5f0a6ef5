//! The HTTP API: routes, extractors and response bodies. Handlers only translate between HTTP and `service`, which makes
//! all decisions.
//!
//! # To add an endpoint
//! 1. Write the handler with its `#[utoipa::path]` in the file of its resource.
//! 2. Add the handler to `routes.rs`.
//! 3. Run `comfy-gateway openapi > openapi.yaml`.
//! 4. Add a test to `tests/api` for each of its responses.

pub mod offload;
pub mod problem;
pub mod server;
pub mod state;

mod backend_request;
mod backends;
mod body;
mod convert;
mod docs;
mod dto;
mod execute;
mod extract;
mod files;
mod form;
mod health;
mod media;
mod middleware;
pub mod openapi;
mod options;
mod problem_responses;
mod ranges;
mod refusals;
mod results;
mod routes;
mod signatures;
mod validate;
mod workflow_bodies;
mod workflows;

use axum::extract::DefaultBodyLimit;
use axum::http::header::ACCEPT_RANGES;
use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};

use self::state::ApiState;

/// Builds the router of the whole API with its middleware.
pub fn router(state: ApiState) -> Router {
    let (router, _document) = routes::all().split_for_parts();
    // Media files are not compressed: ranges and the strong `ETag` refer to their exact bytes, and most formats are
    // compressed already.
    let file =
        |_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions| !headers.contains_key(ACCEPT_RANGES);
    let worth = DefaultPredicate::new().and(file);
    router
        .fallback(middleware::not_found)
        .method_not_allowed_fallback(middleware::method_not_allowed)
        // The extractors have their own limits, which their error messages name.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(middleware::expect_host))
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn_with_state(state.clone(), middleware::observe))
        .layer(CompressionLayer::new().compress_when(worth))
        .layer(Extension(docs::BaseDocument(openapi::base)))
        .with_state(state)
}
