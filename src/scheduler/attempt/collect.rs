//! Downloads a run's files from its backend into the media store, as streams.

use std::collections::HashMap;

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

use super::task::AttemptTask;
use crate::comfy::{ComfyError, HistoryEntry};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::job::NamedText;
use crate::domain::media::{MediaFile, StoredNames};
use crate::domain::outputs::{FileRef, OutputFile, RunOutputs, read_outputs};
use crate::media::{MediaError, SizeBounds, StoredFile};

/// Tries to download one file.
const TRIES: u32 = 3;

/// The outputs of a run, as far as they could be collected.
#[derive(Debug, Default)]
pub(super) struct CollectedOutputs {
    pub texts: Vec<NamedText>,
    pub media: Vec<MediaFile>,
    /// ComfyUI's `outputs`, if they are too large for the job's row.
    pub outputs_file: Option<MediaFile>,
    /// Sentences for the caller about outputs that are kept elsewhere.
    pub notes: Vec<String>,
    /// The first file that could not be downloaded.
    pub missing: Option<Failure>,
    /// Whether the backend no longer has a file, so that only another run can make it.
    pub gone: bool,
    /// Whether the backend itself is gone.
    pub away: bool,
}

/// Why a file could not be downloaded.
enum MissingCause {
    /// The backend does not have the file.
    NotThere,
    /// The transfer broke off.
    Broken(String),
    /// The backend could not be reached.
    Away(String),
    /// The file exceeds `max_output_file`.
    TooLarge(String),
    /// The media store lacks room for this many bytes.
    NoRoom(u64),
    /// The media store failed.
    Storage(std::io::Error),
}

/// A file that could not be downloaded.
struct MissingFile {
    failure: Failure,
    gone: bool,
    away: bool,
}

impl AttemptTask {
    /// Downloads every file of the run. Files that cannot be downloaded are left out, and the first of them
    /// is reported.
    pub(super) async fn collect(&self, entry: &HistoryEntry) -> CollectedOutputs {
        let RunOutputs { files, texts } = read_outputs(entry.outputs.raw(), &self.names);
        // One file may appear in several outputs; it is downloaded once.
        let mut names = StoredNames::default();
        let mut stored_as: HashMap<&FileRef, String> = HashMap::new();
        let mut wanted: Vec<(&FileRef, String)> = Vec::new();
        for OutputFile { file, .. } in &files {
            stored_as.entry(file).or_insert_with(|| {
                let name = names.take(&file.filename);
                wanted.push((file, name.clone()));
                name
            });
        }
        let downloads: Vec<_> = wanted.iter().map(|(file, name)| self.fetch(file, name).boxed()).collect();
        let fetched: Vec<Result<StoredFile, MissingFile>> =
            stream::iter(downloads).buffered(self.context.settings.downloads.max(1)).collect().await;
        let mut collected = CollectedOutputs::default();
        let fetched: HashMap<&FileRef, Result<StoredFile, MissingFile>> =
            wanted.iter().map(|(file, _)| *file).zip(fetched).collect();
        for OutputFile { var, node_id, kind, file } in &files {
            match fetched.get(file) {
                Some(Ok(stored)) => collected.media.push(MediaFile {
                    var: var.clone(),
                    node_id: node_id.clone(),
                    kind: *kind,
                    stored_as: stored_as[file].clone(),
                    filename: file.filename.clone(),
                    content_type: stored.content_type.clone(),
                    bytes: stored.bytes,
                    sha256: stored.sha256.clone(),
                }),
                Some(Err(MissingFile { failure, gone, away })) => {
                    collected.gone |= gone;
                    collected.away |= away;
                    let failure = || Failure { node_id: Some(node_id.clone()), ..failure.clone() };
                    collected.missing.get_or_insert_with(failure);
                }
                None => {}
            }
        }
        self.store_texts(texts, &mut names, &mut collected).await;
        self.store_outputs(entry.outputs.raw().get(), &mut names, &mut collected).await;
        collected
    }

    async fn fetch(&self, file: &FileRef, name: &str) -> Result<StoredFile, MissingFile> {
        let mut failures = 0;
        loop {
            let (why, away) = match self.fetch_once(file, name).await {
                Ok(stored) => return Ok(stored),
                Err(MissingCause::NotThere) => {
                    let failure = self.unavailable(file, "the backend no longer has it");
                    return Err(MissingFile { failure, gone: true, away: false });
                }
                Err(MissingCause::TooLarge(reason)) => {
                    let failure = self.unavailable(file, &reason);
                    return Err(MissingFile { failure, gone: false, away: false });
                }
                Err(MissingCause::Broken(reason)) => (reason, false),
                Err(MissingCause::Away(reason)) => (reason, true),
                // A full disk is not the job's fault. Its files wait on the backend meanwhile.
                Err(MissingCause::NoRoom(bytes)) => {
                    if self.wait_for_room(bytes).await {
                        continue;
                    }
                    let failure = self.unavailable(file, "the gateway's disk is full");
                    return Err(MissingFile { failure, gone: false, away: false });
                }
                Err(MissingCause::Storage(error)) => {
                    tracing::error!(%error, "the media store failed; trying again");
                    self.pause(3).await;
                    continue;
                }
            };
            failures += 1;
            if failures >= TRIES {
                return Err(MissingFile { failure: self.unavailable(file, &why), gone: false, away });
            }
            tracing::warn!(reason = why, "downloading an output file failed; trying again");
            self.pause(failures).await;
        }
    }

    fn unavailable(&self, file: &FileRef, why: &str) -> Failure {
        let folder = if file.subfolder.is_empty() { String::new() } else { format!("{}/", file.subfolder) };
        let message = format!(
            "the output file \"{folder}{}\" could not be fetched from {}: {why}",
            file.filename,
            self.backend.name()
        );
        Failure::new(FailureCode::OutputUnavailable, message)
    }

    /// Waits until the disk has room for `bytes` more. Returns `false` if the job is cancelled first.
    pub(super) async fn wait_for_room(&self, bytes: u64) -> bool {
        tracing::error!(bytes, "the disk of the media files is full; waiting for room");
        tokio::select! {
            () = self.context.until_room(bytes) => true,
            () = self.cancel.cancelled() => false,
        }
    }

    pub(super) async fn pause(&self, failures: u32) {
        let wait = self.context.settings.retry.delay(failures, self.context.core.random.fraction());
        self.context.core.clock.sleep(wait).await;
    }

    async fn fetch_once(&self, file: &FileRef, name: &str) -> Result<StoredFile, MissingCause> {
        let broken = |error: &ComfyError| {
            if error.is_not_found() {
                MissingCause::NotThere
            } else if error.is_unreachable() {
                MissingCause::Away(error.fault.to_string())
            } else {
                MissingCause::Broken(error.fault.to_string())
            }
        };
        let view = self.backend.client().view(file).await.map_err(|error| broken(&error))?;
        let extent = SizeBounds {
            limit: self.context.settings.max_output_file,
            expected: view.content_length().unwrap_or_default(),
        };
        let bytes = view.into_stream().map_err(Into::into).boxed();
        self.context.core.media.put(self.job.prompt_id, name, bytes, extent).await.map_err(
            |error| match error {
                MediaError::Source(error) => MissingCause::Broken(error.to_string()),
                MediaError::DiskFull { needed } => MissingCause::NoRoom(needed),
                MediaError::Storage(error) => MissingCause::Storage(error),
                MediaError::TooLarge { limit } => {
                    MissingCause::TooLarge(format!("it has more than {limit} bytes (max_output_file)"))
                }
            },
        )
    }
}
