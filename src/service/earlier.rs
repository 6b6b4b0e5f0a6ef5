//! Finds inputs that are stored already: uploaded files and outputs of earlier jobs.

use super::gather::{FoundInput, InputProblem};
use super::state::Service;
use super::submit_error::SubmitError;
use crate::domain::binding::MediaItem;
use crate::domain::id::{FileId, PromptId};
use crate::domain::input::{StoredInput, server_name};
use crate::domain::media::MediaFile;
use crate::store::{JobLookup, JobRecord};

impl Service {
    pub(super) async fn find_file(&self, id: FileId) -> Result<FoundInput, InputProblem> {
        let unknown = || {
            InputProblem::Value(format!(
                "names the file {id}, which does not exist: it was never uploaded, was deleted, or has expired"
            ))
        };
        let file = self.core.store.file(id).await?.ok_or_else(unknown)?;
        // Renew the file, so that it is not swept before the job is stored.
        if !self.core.media.renew_input(&file.sha256, self.core.clock.now()).await? {
            return Err(unknown());
        }
        let name = server_name(&file.sha256, &file.extension);
        Ok(FoundInput::Kept(StoredInput { sha256: file.sha256, bytes: file.bytes, name }))
    }

    pub(super) async fn find_output(
        &self,
        id: PromptId,
        var: Option<&str>,
        index: usize,
    ) -> Result<FoundInput, InputProblem> {
        let record = self.ended_job(id).await?;
        let vars = || {
            let mut vars: Vec<&str> = record.media.iter().map(|file| file.var.as_str()).collect();
            vars.dedup();
            vars.join(", ")
        };
        let files: Vec<&MediaFile> = match var {
            Some(var) => record.media.iter().filter(|file| file.var == var).collect(),
            None => record.media.iter().collect(),
        };
        let Some(&file) = files.get(index) else {
            let what = var.map_or_else(|| "files".to_owned(), |var| format!("files of {var:?}"));
            return Err(InputProblem::Value(format!(
                "asks for index {index} of the {what} of job {id}, which has {} (its outputs: {})",
                files.len(),
                vars()
            )));
        };
        if var.is_none() && index == 0 && files.len() > 1 {
            return Err(InputProblem::Value(format!(
                "must name one output of job {id} with \"var\": {}",
                vars()
            )));
        }
        Ok(FoundInput::Output(id, file.clone()))
    }

    pub(super) async fn find_media(&self, id: PromptId, name: &str) -> Result<FoundInput, InputProblem> {
        let record = self.ended_job(id).await?;
        match record.media.iter().find(|file| file.stored_as == name) {
            Some(file) => Ok(FoundInput::Output(id, file.clone())),
            None => Err(InputProblem::Value(format!("names a file that job {id} does not have"))),
        }
    }

    async fn ended_job(&self, id: PromptId) -> Result<Box<JobRecord>, InputProblem> {
        match self.core.store.get(id).await? {
            JobLookup::Found(record) if record.state.status().is_terminal() => Ok(record),
            JobLookup::Found(_) => Err(InputProblem::Value(format!(
                "names job {id}, which has not ended yet; wait for it to end first"
            ))),
            JobLookup::Gone => Err(InputProblem::Value(format!(
                "names job {id}, which was deleted or whose retention ended"
            ))),
            JobLookup::Unknown => Err(InputProblem::Value(format!("names job {id}, which does not exist"))),
        }
    }

    /// Stores an output of an earlier job as an input. The output may have been deleted since it was found,
    /// which is a fault.
    pub(super) async fn keep_output(
        &self,
        job: PromptId,
        file: &MediaFile,
        item: &MediaItem<'_>,
    ) -> Result<StoredInput, SubmitError> {
        let now = self.core.clock.now();
        if !self.core.media.keep_output_as_input(job, &file.stored_as, &file.sha256, now).await? {
            let fault = item.fault(&format!("names a file of job {job} that is no longer stored"));
            return Err(SubmitError::InvalidParams(fault.into()));
        }
        let extension = file.stored_as.rsplit_once('.').map_or("", |(_, extension)| extension);
        let name = server_name(&file.sha256, extension);
        Ok(StoredInput { sha256: file.sha256.clone(), bytes: file.bytes, name })
    }
}
