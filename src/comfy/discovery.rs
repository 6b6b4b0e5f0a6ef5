//! Finds out whether a backend serves its HTTP routes with or without the prefix `/api`.
//!
//! ComfyUI serves every route both as `/queue` and as `/api/queue`, but a proxy may pass only one of them.
//! The client tries the harmless `GET /system_stats`, first without the prefix, and remembers the result for
//! its life. It does so before any other call, so a failed discovery never leaves in doubt whether a job was
//! accepted.
//!
//! The websocket has a discovery of its own, in `ws`, because proxies often route `/ws` and `/api/ws`
//! differently.

use super::client::ComfyClient;
use super::error::{CallFault, ComfyError};
use super::loose::LooseObject;
use super::routes::{RoutePrefix, SYSTEM_STATS};

impl ComfyClient {
    /// The prefix that this backend uses.
    pub(super) async fn route_prefix(&self) -> Result<RoutePrefix, ComfyError> {
        self.routes().http.get_or_try_init(|| self.discover_prefix()).await.copied()
    }

    async fn discover_prefix(&self) -> Result<RoutePrefix, ComfyError> {
        let plain = match self.try_prefix(RoutePrefix::Plain).await {
            Ok(()) => return Ok(RoutePrefix::Plain),
            Err(error) => error,
        };
        if !matches!(
            plain.fault,
            CallFault::NotFound | CallFault::Status { .. } | CallFault::Malformed { .. }
        ) {
            return Err(plain);
        }
        self.try_prefix(RoutePrefix::Api).await.map(|()| RoutePrefix::Api).map_err(|_api| plain)
    }

    /// Fails unless `/system_stats` under `prefix` is answered as ComfyUI does. The content matters, because
    /// a proxy can answer an unknown path with 200 and a web page.
    async fn try_prefix(&self, prefix: RoutePrefix) -> Result<(), ComfyError> {
        let request = self.request(SYSTEM_STATS, prefix.url(self.base(), SYSTEM_STATS, None, &[]));
        let text = self.read_json(SYSTEM_STATS, request).await?;
        let answer = LooseObject::parse(&text).map_err(|error| self.malformed(SYSTEM_STATS, error))?;
        if answer.raw("system").is_none() && answer.raw("devices").is_none() {
            return Err(
                self.malformed(SYSTEM_STATS, "it has neither `system` nor `devices`, so it is not ComfyUI's")
            );
        }
        Ok(())
    }
}
