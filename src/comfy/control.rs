//! Calls that act on a backend: interrupting its running job and freeing its memory.

use super::client::ComfyClient;
use super::error::ComfyError;
use super::routes::ComfyRoute;

const INTERRUPT: ComfyRoute = ComfyRoute::post("/interrupt");
const FREE: ComfyRoute = ComfyRoute::post("/free");

impl ComfyClient {
    /// Interrupts the job `prompt_id` if it is running. No other job is affected.
    ///
    /// The job ends at the next boundary of a node or step, which can take long. ComfyUI also answers with success
    /// if nothing was interrupted, so watch [`Self::history`] for the end.
    ///
    /// # Errors
    /// The call fails with any [`super::CallFault`].
    pub async fn interrupt(&self, prompt_id: &str) -> Result<(), ComfyError> {
        let request = self.call(INTERRUPT, None, &[]).await?;
        self.complete(INTERRUPT, request.json(&serde_json::json!({ "prompt_id": prompt_id }))).await
    }

    /// Asks the backend to unload its models or free its cached memory after its current job.
    ///
    /// # Errors
    /// The call fails with any [`super::CallFault`].
    pub async fn free(&self, unload_models: bool, free_memory: bool) -> Result<(), ComfyError> {
        let request = self.call(FREE, None, &[]).await?;
        let body = serde_json::json!({ "unload_models": unload_models, "free_memory": free_memory });
        self.complete(FREE, request.json(&body)).await
    }
}
