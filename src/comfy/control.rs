//! Acting on a server: interrupting what it runs and freeing its memory. It must not decide when.

use super::client::ComfyClient;
use super::error::ComfyError;
use super::routes::ComfyRoute;

const INTERRUPT: ComfyRoute = ComfyRoute::post("/interrupt");
const FREE: ComfyRoute = ComfyRoute::post("/free");

impl ComfyClient {
    /// Interrupts the job `prompt_id` if it is the one that runs; no other job is ever hit. It ends at the
    /// next border of a node or step, which can take long. Success says nothing: watch [`Self::history`].
    ///
    /// # Errors
    /// Every [`super::CallFault`] of a call.
    pub async fn interrupt(&self, prompt_id: &str) -> Result<(), ComfyError> {
        let request = self.call(INTERRUPT, None, &[]).await?;
        self.done(INTERRUPT, request.json(&serde_json::json!({ "prompt_id": prompt_id }))).await
    }

    /// Asks the server to unload its models and to free cached memory once its current job has ended.
    ///
    /// # Errors
    /// Every [`super::CallFault`] of a call.
    pub async fn free(&self, unload_models: bool, free_memory: bool) -> Result<(), ComfyError> {
        let request = self.call(FREE, None, &[]).await?;
        let body = serde_json::json!({ "unload_models": unload_models, "free_memory": free_memory });
        self.done(FREE, request.json(&body)).await
    }
}
