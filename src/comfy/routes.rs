//! The routes of ComfyUI, and the URLs that they have at one backend.

use std::fmt;

use tokio::sync::OnceCell;
use url::Url;

/// A route: its method and its path without any prefix, as shown in errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComfyRoute {
    pub(super) post: bool,
    pub(super) path: &'static str,
}

impl ComfyRoute {
    pub(super) const fn get(path: &'static str) -> Self {
        Self { post: false, path }
    }

    pub(super) const fn post(path: &'static str) -> Self {
        Self { post: true, path }
    }
}

impl fmt::Display for ComfyRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.post { "POST" } else { "GET" }, self.path)
    }
}

pub(super) const SYSTEM_STATS: ComfyRoute = ComfyRoute::get("/system_stats");
/// Takes files of any kind in spite of its name.
pub(super) const UPLOAD: ComfyRoute = ComfyRoute::post("/upload/image");

/// Whether a backend serves its routes with `/api` in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoutePrefix {
    Plain,
    Api,
}

impl RoutePrefix {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Api => "/api",
        }
    }

    /// The URL of `route` below `base`. The path and the query of `base` are kept. `last` is one more path segment;
    /// it and the values of `query` are percent-encoded.
    pub(super) fn url(
        self,
        base: &Url,
        route: ComfyRoute,
        last: Option<&str>,
        query: &[(&str, &str)],
    ) -> Url {
        let mut url = base.clone();
        let path = format!("{}{}{}", base.path().trim_end_matches('/'), self.as_str(), route.path);
        url.set_path(&path);
        if let (Some(last), Ok(mut segments)) = (last, url.path_segments_mut()) {
            segments.push(last);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

/// The prefixes that one backend was found to use.
#[derive(Debug, Default)]
pub(super) struct KnownRoutes {
    pub(super) http: OnceCell<RoutePrefix>,
    pub(super) ws: OnceCell<RoutePrefix>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(base: &str, prefix: RoutePrefix, last: Option<&str>, query: &[(&str, &str)]) -> String {
        prefix.url(&Url::parse(base).unwrap(), ComfyRoute::get("/view"), last, query).to_string()
    }

    #[test]
    fn a_path_prefix_is_kept_with_and_without_a_slash() {
        assert_eq!(shown("http://h:1", RoutePrefix::Plain, None, &[]), "http://h:1/view");
        assert_eq!(shown("http://h:1/comfy", RoutePrefix::Plain, None, &[]), "http://h:1/comfy/view");
        assert_eq!(shown("https://h/a/comfy/", RoutePrefix::Api, None, &[]), "https://h/a/comfy/api/view");
    }

    #[test]
    fn query_values_and_segments_are_encoded_and_the_bases_query_is_kept() {
        let file = [("filename", "a b&c=1#é.png"), ("subfolder", "../x")];
        assert_eq!(
            shown("http://h/?key=1", RoutePrefix::Plain, None, &file),
            "http://h/view?key=1&filename=a+b%26c%3D1%23%C3%A9.png&subfolder=..%2Fx"
        );
        assert_eq!(shown("http://h", RoutePrefix::Plain, Some("a/b?c"), &[]), "http://h/view/a%2Fb%3Fc");
    }
}
