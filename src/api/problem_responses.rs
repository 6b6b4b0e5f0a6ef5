//! The error responses of an operation in the OpenAPI document, derived from the problem kinds it can answer with.

use std::collections::BTreeMap;

use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::problem::{
    BODY_TOO_LARGE, DISK_FULL, INTERNAL, ProblemKind, REQUEST_TIMEOUT, STORE_UNAVAILABLE,
    UNSUPPORTED_MEDIA_TYPE,
};

/// The problems of an operation that reads the store.
pub(super) const STORE_READ: &[ProblemKind] = &[INTERNAL, STORE_UNAVAILABLE];
/// The problems of an operation that writes to the store.
pub(super) const STORE_WRITE: &[ProblemKind] = &[INTERNAL, STORE_UNAVAILABLE, DISK_FULL];
/// The problems of an operation that reads a body, besides those of the body's syntax.
pub(super) const BODY_READ: &[ProblemKind] = &[REQUEST_TIMEOUT, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE];

/// Declares a type for the `responses` of `#[utoipa::path]` that stands for the problems in several lists of
/// [`ProblemKind`]s: `problem_responses!(GetFileProblems: STORE_READ, &[NOT_FOUND]);`.
macro_rules! problem_responses {
    ($name:ident: $($kinds:expr),+ $(,)?) => {
        #[doc = "The problems that the operation below can answer with."]
        #[derive(Debug)]
        pub enum $name {}

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                $crate::api::problem_responses::of_kinds(&[$($kinds),+])
            }
        }
    };
}
pub(super) use problem_responses;

/// One response for each status, with the codes of its problems as the description.
pub(super) fn of_kinds(kinds: &[&[ProblemKind]]) -> BTreeMap<String, RefOr<Response>> {
    let mut codes = BTreeMap::<u16, Vec<String>>::new();
    for kind in kinds.iter().copied().flatten() {
        codes.entry(kind.status.as_u16()).or_default().push(format!("`{}`", kind.code));
    }
    let response = |codes: Vec<String>| {
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new().description(codes.join(", "));
        RefOr::T(response.content("application/problem+json", body).build())
    };
    codes.into_iter().map(|(status, codes)| (status.to_string(), response(codes))).collect()
}
