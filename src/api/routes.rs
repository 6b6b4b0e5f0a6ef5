//! The list of all routes.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::ApiState;
use super::{backends, convert, docs, execute, files, health, media, results, validate, workflows};

/// All routes with their documentation.
pub(super) fn all() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(execute::execute))
        .routes(routes!(results::list))
        .routes(routes!(results::get, results::delete))
        .routes(routes!(results::cancel))
        .routes(routes!(media::get))
        .routes(routes!(files::upload))
        .routes(routes!(files::get, files::delete))
        .routes(routes!(workflows::list))
        .routes(routes!(workflows::get, workflows::put, workflows::delete))
        .routes(routes!(workflows::execute))
        .routes(routes!(convert::convert))
        .routes(routes!(validate::validate))
        .routes(routes!(backends::list, backends::add))
        .routes(routes!(backends::get, backends::delete))
        .routes(routes!(backends::cordon))
        .routes(routes!(backends::uncordon))
        .routes(routes!(backends::drain))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(docs::yaml))
        .routes(routes!(docs::json))
        .routes(routes!(docs::page))
        .routes(routes!(docs::script))
}
