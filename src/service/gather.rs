//! Gathers the inputs of a job at its submission. Files sent with the request are stored, files that are here
//! already are found, and URLs are only noted: they are fetched later, so that a slow host does not delay the
//! response.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::state::Service;
use super::submission::RequestFile;
use super::submit_error::SubmitError;
use crate::domain::binding::MediaItem;
use crate::domain::fault::{WorkflowFault, WorkflowFaults};
use crate::domain::id::PromptId;
use crate::domain::input::{JobInput, MediaValue, RemoteInput, StoredInput, placeholder, server_name};
use crate::domain::media::{MediaFile, own_media};
use crate::media::{IncomingFile, MediaError, StoredFile};

/// Base64 as browsers and the standard libraries write it, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The number of base64 characters that are decoded at once. A multiple of 4, so that each chunk decodes on
/// its own.
const BASE64_CHUNK: usize = 64 * 1024;

/// A job's inputs, and the names that stand for them in its graph.
#[derive(Debug, Default)]
pub(super) struct GatheredInputs {
    pub names: Vec<String>,
    pub files: Vec<JobInput>,
}

/// An input whose bytes, or whose source, is known.
pub(super) enum FoundInput {
    /// A file in the backend's input folder, by its name there.
    OnBackend(String),
    /// A file that came with the request.
    New(IncomingFile),
    /// A file that is stored as an input already.
    Kept(StoredInput),
    /// An output file of an earlier job, to be stored as an input, too.
    Output(PromptId, MediaFile),
    /// A URL to fetch after the submission.
    Remote(String),
}

/// Why an input cannot be found.
pub(super) enum InputProblem {
    /// A fault of the parameter's value. The text is the predicate of a sentence whose subject is the parameter.
    Value(String),
    /// The submission failed for another reason.
    Failed(SubmitError),
}

impl From<MediaError> for InputProblem {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Source(why) => Self::Value(why.to_string()),
            MediaError::TooLarge { limit } => Self::Value(format!("is larger than {limit} bytes (max_file)")),
            MediaError::DiskFull { .. } | MediaError::Storage(_) => Self::Failed(error.into()),
        }
    }
}

impl From<crate::store::StoreError> for InputProblem {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl Service {
    /// Finds all inputs of a job. Files that came with the request are stored only if all inputs were found.
    pub(super) async fn gather(
        &self,
        job: PromptId,
        items: &[MediaItem<'_>],
        mut parts: Vec<RequestFile>,
        own_url: &str,
    ) -> Result<GatheredInputs, SubmitError> {
        let limit = self.limits.max_inputs;
        if items.len() > limit {
            let message = format!(
                "the parameters have {} files, but a job can have at most {limit} (max_inputs)",
                items.len()
            );
            return Err(SubmitError::InvalidParams(WorkflowFault::whole(message)));
        }
        let (mut found, mut faults) = (Vec::with_capacity(items.len()), WorkflowFaults::default());
        for item in items {
            match self.find(&item.value, &mut parts, own_url).await {
                Ok(file) => found.push(file),
                Err(InputProblem::Value(why)) => faults.push(item.fault(&why)),
                Err(InputProblem::Failed(error)) => return Err(error),
            }
        }
        if !faults.is_empty() {
            return Err(SubmitError::InvalidParams(faults));
        }
        let mut gathered = GatheredInputs::default();
        for (at, (item, file)) in items.iter().zip(found).enumerate() {
            self.add(&mut gathered, file, item, placeholder(job, at)).await?;
        }
        Ok(gathered)
    }

    async fn add(
        &self,
        gathered: &mut GatheredInputs,
        file: FoundInput,
        item: &MediaItem<'_>,
        placeholder: String,
    ) -> Result<(), SubmitError> {
        let kept = match file {
            FoundInput::OnBackend(name) => {
                gathered.names.push(name);
                return Ok(());
            }
            FoundInput::Remote(url) => {
                gathered.names.push(placeholder.clone());
                gathered.files.push(JobInput::Remote(RemoteInput {
                    url,
                    placeholder,
                    param: item.param.clone(),
                }));
                return Ok(());
            }
            FoundInput::Kept(kept) => kept,
            FoundInput::Output(job, output) => self.keep_output(job, &output, item).await?,
            FoundInput::New(incoming) => {
                let StoredFile { sha256, bytes, extension, .. } =
                    self.core.media.keep_input(incoming, self.core.clock.now()).await?;
                StoredInput { name: server_name(&sha256, &extension), sha256, bytes }
            }
        };
        gathered.names.push(kept.name.clone());
        let kept = JobInput::Stored(kept);
        if !gathered.files.contains(&kept) {
            gathered.files.push(kept);
        }
        Ok(())
    }

    async fn find(
        &self,
        value: &MediaValue<'_>,
        parts: &mut [RequestFile],
        own_url: &str,
    ) -> Result<FoundInput, InputProblem> {
        match value {
            MediaValue::OnServer(name) => Ok(FoundInput::OnBackend(name.clone())),
            MediaValue::Url(url) => match own_media(url, own_url) {
                Some((job, file)) => self.find_media(job, file).await,
                None => self
                    .core
                    .fetcher
                    .guard()
                    .parse(url)
                    .map(|url| FoundInput::Remote(url.into()))
                    .map_err(|refused| InputProblem::Value(format!("cannot be fetched: {refused}"))),
            },
            MediaValue::Inline { base64, filename } => {
                self.decode(base64, filename.as_deref()).await.map(FoundInput::New)
            }
            MediaValue::File(id) => self.find_file(*id).await,
            MediaValue::Result { prompt_id, var, index } => {
                self.find_output(*prompt_id, var.as_deref(), *index).await
            }
            MediaValue::Part(at) => {
                parts.get_mut(*at).and_then(|part| part.incoming.take()).map(FoundInput::New).ok_or_else(
                    || {
                        InputProblem::Value(
                            "is given by a part of the form that is missing or already used".to_owned(),
                        )
                    },
                )
            }
        }
    }

    async fn decode(&self, base64: &str, filename: Option<&str>) -> Result<IncomingFile, InputProblem> {
        // Mail programs and command line tools break base64 into lines.
        let base64: Cow<'_, str> = if base64.bytes().any(|byte| byte.is_ascii_whitespace()) {
            base64.split_ascii_whitespace().collect::<String>().into()
        } else {
            base64.into()
        };
        let pieces = base64.as_bytes().chunks(BASE64_CHUNK).map(|piece| {
            BASE64
                .decode(piece)
                .map(Bytes::from)
                .map_err(|error| format!("is not valid base64: {error}").into())
        });
        let source = stream::iter(pieces).boxed();
        Ok(self.core.media.receive(filename.unwrap_or_default(), source, self.limits.max_file).await?)
    }
}
