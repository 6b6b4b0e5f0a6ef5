//! The routes of a ComfyUI server, and finding out under which form it serves them. It must not send a job.
//!
//! Every route exists as `/queue` and as `/api/queue`, but a proxy may pass only one of them. Which one works
//! is asked once per client, with the harmless `GET /system_stats`: without the prefix first, then with it.
//! The answer is remembered for the client's life. Asking before anything else means that a failure to find
//! the form can never leave it open whether a job was accepted. The websocket is asked for apart, as `/ws`
//! and `/api/ws` often go different ways through a proxy: the handshake itself is the question.

use std::fmt;

use tokio::sync::OnceCell;
use url::Url;

use super::client::ComfyClient;
use super::error::{CallFault, ComfyError};
use super::loose::LooseObject;

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

/// Whether routes are asked for with `/api` in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoutePrefix {
    Plain,
    Api,
}

impl RoutePrefix {
    fn prefix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Api => "/api",
        }
    }

    /// Where `route` is below `base`, whose own path and query are kept. `last` is one more path segment;
    /// it and the query values are percent-encoded.
    pub(super) fn url(
        self,
        base: &Url,
        route: ComfyRoute,
        last: Option<&str>,
        query: &[(&str, &str)],
    ) -> Url {
        let mut url = base.clone();
        let path = format!("{}{}{}", base.path().trim_end_matches('/'), self.prefix(), route.path);
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

/// What is known about one server's routes.
#[derive(Debug, Default)]
pub(super) struct KnownRoutes {
    pub(super) http: OnceCell<RoutePrefix>,
    pub(super) ws: OnceCell<RoutePrefix>,
}

impl ComfyClient {
    /// The form this server answers to.
    pub(super) async fn form(&self) -> Result<RoutePrefix, ComfyError> {
        self.known().http.get_or_try_init(|| self.find_form()).await.copied()
    }

    async fn find_form(&self) -> Result<RoutePrefix, ComfyError> {
        let plain = match self.is_comfy(RoutePrefix::Plain).await {
            Ok(()) => return Ok(RoutePrefix::Plain),
            Err(error) => error,
        };
        if !matches!(
            plain.fault,
            CallFault::NotFound | CallFault::Status { .. } | CallFault::Malformed { .. }
        ) {
            return Err(plain);
        }
        self.is_comfy(RoutePrefix::Api).await.map(|()| RoutePrefix::Api).map_err(|_api| plain)
    }

    /// Fails unless the server answers `/system_stats` under `form` as ComfyUI does: a proxy may well answer
    /// an unknown path with 200 and a web page.
    async fn is_comfy(&self, form: RoutePrefix) -> Result<(), ComfyError> {
        let request = self.request(SYSTEM_STATS, form.url(self.base(), SYSTEM_STATS, None, &[]));
        let text = self.json(SYSTEM_STATS, request).await?;
        let answer = LooseObject::parse(&text).map_err(|error| self.malformed(SYSTEM_STATS, error))?;
        if answer.raw("system").is_none() && answer.raw("devices").is_none() {
            return Err(self.malformed(SYSTEM_STATS, "it is not ComfyUI's"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(base: &str, form: RoutePrefix, last: Option<&str>, query: &[(&str, &str)]) -> String {
        form.url(&Url::parse(base).unwrap(), ComfyRoute::get("/view"), last, query).to_string()
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
