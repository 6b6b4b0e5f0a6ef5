//! Uploads a job's inputs to its backend. Their names are derived from their bytes, so a file of the right
//! name and length is the right file, on every backend.

use std::io;

use futures_util::TryStreamExt;

use super::outcome::{AttemptOutcome, RequeueDecision};
use super::task::AttemptTask;
use crate::comfy::{ComfyError, InputUpload};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::input::StoredInput;
use crate::domain::requeue::RequeueCause;

impl AttemptTask {
    /// Uploads every input that the backend lacks.
    pub(super) async fn upload_inputs(&self) -> Result<(), AttemptOutcome> {
        for file in &self.job.files {
            tokio::select! {
                brought = self.upload_input(file) => brought?,
                () = self.cancel.cancelled() => {
                    self.turn.end();
                    return Err(AttemptOutcome::Cancelled);
                }
            }
        }
        Ok(())
    }

    async fn upload_input(&self, file: &StoredInput) -> Result<(), AttemptOutcome> {
        let there = self.backend.client().input_size(&file.name).await;
        if there.map_err(|error| self.upload_outcome(file, &error))? == Some(file.bytes) {
            return Ok(());
        }
        // Jobs behind this one do not wait for its upload.
        self.turn.end();
        let name = self.upload(file, false).await?;
        // Another name means that a file of ours with other bytes was there, which an interrupted upload
        // leaves behind.
        if name != file.name && self.upload(file, true).await? != file.name {
            let reason = format!("the backend {} stores files under other names", self.backend.name());
            return Err(AttemptOutcome::Requeue(RequeueDecision::new(RequeueCause::NotAccepted, reason)));
        }
        Ok(())
    }

    /// Returns the name under which the backend stored the file.
    async fn upload(&self, file: &StoredInput, overwrite: bool) -> Result<String, AttemptOutcome> {
        let lost = |why: String| {
            let message = format!("the gateway has lost the file {}: {why}; submit the job again", file.name);
            AttemptOutcome::Failed(Failure::new(FailureCode::InputUnavailable, message))
        };
        let bytes = self.context.core.media.read_input(&file.sha256, 0..file.bytes).await;
        let bytes =
            bytes.map_err(|error| lost(error.to_string()))?.ok_or_else(|| lost("it is gone".to_owned()))?;
        let upload = InputUpload::stream(&file.name, Some(file.bytes), bytes.map_err(io::Error::other));
        match self.backend.client().upload(upload.overwrite(overwrite)).await {
            Ok(uploaded) => Ok(uploaded.input_value()),
            Err(error) => Err(self.upload_outcome(file, &error)),
        }
    }

    fn upload_outcome(&self, file: &StoredInput, error: &ComfyError) -> AttemptOutcome {
        self.turn.end();
        let backend = self.backend.name();
        tracing::warn!(%error, file = file.name, "an input could not be uploaded");
        if error.is_unreachable() {
            self.backend.mark_down(error);
            let reason = format!("the backend {backend} could not be reached");
            return AttemptOutcome::Requeue(RequeueDecision::new(RequeueCause::Unreachable, reason));
        }
        if error.status() == Some(413) {
            let message = format!(
                "a file of {} bytes is larger than the backend {backend} accepts; start its ComfyUI with a larger --max-upload-size",
                file.bytes
            );
            return AttemptOutcome::Failed(Failure::new(FailureCode::InputUnavailable, message));
        }
        let reason = format!("the backend {backend} did not accept a file of the job ({})", error.fault);
        AttemptOutcome::Requeue(RequeueDecision::new(RequeueCause::NotAccepted, reason))
    }
}
