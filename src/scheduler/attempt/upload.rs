//! Bringing a job's files to its server. Their names are made from their bytes: one that is there already is the right
//! one, and a retry on another server finds its files under the same names.

use std::io;

use futures_util::TryStreamExt;

use super::outcome::{AttemptOutcome, Retry};
use super::task::AttemptTask;
use crate::comfy::{ComfyError, InputUpload};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::input::StoredInput;

impl AttemptTask {
    /// Brings every file that the server has not.
    pub(super) async fn bring_files(&self) -> Result<(), AttemptOutcome> {
        for file in &self.job.files {
            tokio::select! {
                brought = self.bring(file) => brought?,
                () = self.cancel.cancelled() => {
                    self.turn.end();
                    return Err(AttemptOutcome::Cancelled);
                }
            }
        }
        Ok(())
    }

    async fn bring(&self, file: &StoredInput) -> Result<(), AttemptOutcome> {
        let there = self.backend.client().input_size(&file.name).await;
        if there.map_err(|error| self.not_brought(file, &error))? == Some(file.bytes) {
            return Ok(());
        }
        // Jobs behind this one need not wait for its bytes.
        self.turn.end();
        let name = self.upload(file, false).await?;
        // Another name: one of ours was there with other bytes, as a crash leaves them.
        if name != file.name && self.upload(file, true).await? != file.name {
            let reason = format!("the server {} stores files under other names", self.backend.name());
            return Err(AttemptOutcome::Retry(Retry::lost(reason)));
        }
        Ok(())
    }

    /// The name under which the server has it.
    async fn upload(&self, file: &StoredInput, overwrite: bool) -> Result<String, AttemptOutcome> {
        let lost = |why: String| {
            let message = format!("the gateway has lost the file {}: {why}; submit the job again", file.name);
            AttemptOutcome::Failed(Failure::new(FailureCode::InputUnavailable, message))
        };
        let bytes = self.parts.media.read_input(&file.sha256, 0..file.bytes).await;
        let bytes =
            bytes.map_err(|error| lost(error.to_string()))?.ok_or_else(|| lost("it is gone".to_owned()))?;
        let upload = InputUpload::stream(&file.name, Some(file.bytes), bytes.map_err(io::Error::other));
        match self.backend.client().upload(upload.overwrite(overwrite)).await {
            Ok(uploaded) => Ok(uploaded.input_value()),
            Err(error) => Err(self.not_brought(file, &error)),
        }
    }

    fn not_brought(&self, file: &StoredInput, error: &ComfyError) -> AttemptOutcome {
        self.turn.end();
        let server = self.backend.name();
        tracing::warn!(%error, file = file.name, "a file did not reach the server");
        if error.is_unreachable() {
            self.backend.mark_down(error);
            return AttemptOutcome::Retry(Retry::not_run(format!(
                "the server {server} could not be reached"
            )));
        }
        if error.status() == Some(413) {
            let message = format!(
                "a file of {} bytes is larger than the server {server} takes; start its ComfyUI with a larger --max-upload-size",
                file.bytes
            );
            return AttemptOutcome::Failed(Failure::new(FailureCode::InputUnavailable, message));
        }
        AttemptOutcome::Retry(Retry::lost(format!(
            "the server {server} did not take a file of the job ({})",
            error.fault
        )))
    }
}
