//! Stores texts and outputs that are too large for a job's row as files of the job.

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::collect::CollectedOutputs;
use super::task::AttemptTask;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::job::NamedText;
use crate::domain::media::{MediaFile, MediaKind, StoredNames};
use crate::domain::outputs::OutputText;
use crate::media::{MediaError, SizeBounds, StoredFile};

/// Bytes handed to the media store at once.
const PIECE: usize = 64 * 1024;

/// Texts by the place where they are stored.
#[derive(Debug, Default, PartialEq, Eq)]
struct SplitTexts {
    inline: Vec<NamedText>,
    as_files: Vec<OutputText>,
}

/// Keeps texts inline up to `each` bytes, and up to `all` bytes together. The others become files.
fn split(texts: Vec<OutputText>, each: usize, all: usize) -> SplitTexts {
    let mut split = SplitTexts::default();
    let mut left = all;
    for text in texts {
        let bytes = text.text.len();
        if bytes > each || bytes > left {
            split.as_files.push(text);
        } else {
            left -= bytes;
            split.inline.push(NamedText { var: text.var, text: text.text });
        }
    }
    split
}

impl AttemptTask {
    /// Adds the texts to `collected`: large ones as files, each with a note.
    pub(super) async fn store_texts(
        &self,
        texts: Vec<OutputText>,
        names: &mut StoredNames,
        collected: &mut CollectedOutputs,
    ) {
        let settings = &self.context.settings;
        let split = split(texts, settings.inline_text, settings.inline_outputs);
        collected.texts = split.inline;
        for OutputText { var, node_id, text } in split.as_files {
            let filename = format!("{var}.txt");
            let stored_as = names.take(&filename);
            let Some(stored) = self.store_text(&stored_as, &text, collected).await else { return };
            let bytes = stored.bytes;
            collected.notes.push(format!("the text of {var} has {bytes} bytes and is in files_by_var"));
            collected.media.push(MediaFile {
                content_type: "text/plain; charset=utf-8".to_owned(),
                ..file(var, node_id, stored_as, filename, stored)
            });
        }
    }

    /// Adds `outputs` to `collected` as a file with a note, if they are too large for a row.
    pub(super) async fn store_outputs(
        &self,
        outputs: &str,
        names: &mut StoredNames,
        collected: &mut CollectedOutputs,
    ) {
        if outputs.len() <= self.context.settings.inline_outputs {
            return;
        }
        let filename = "outputs.json".to_owned();
        let stored_as = names.take(&filename);
        let Some(stored) = self.store_text(&stored_as, outputs, collected).await else { return };
        let bytes = stored.bytes;
        collected.notes.push(format!("ComfyUI's outputs have {bytes} bytes and are at outputs_url"));
        collected.outputs_file = Some(MediaFile {
            content_type: "application/json".to_owned(),
            ..file(String::new(), String::new(), stored_as, filename, stored)
        });
    }

    /// Stores a text as a file of the job, and retries until it is stored. Returns `None` if the job is
    /// cancelled while the disk is full.
    async fn store_text(
        &self,
        name: &str,
        text: &str,
        collected: &mut CollectedOutputs,
    ) -> Option<StoredFile> {
        let extent = SizeBounds::exactly(text.len() as u64);
        loop {
            let pieces = text.as_bytes().chunks(PIECE).map(|piece| Ok(Bytes::copy_from_slice(piece)));
            let source = stream::iter(pieces).boxed();
            match self.context.core.media.put(self.job.prompt_id, name, source, extent).await {
                Ok(stored) => return Some(stored),
                Err(MediaError::DiskFull { needed }) => {
                    if !self.wait_for_room(needed).await {
                        let why = format!("{name:?} could not be stored: the gateway's disk is full");
                        let failure = Failure::new(FailureCode::OutputUnavailable, why);
                        collected.missing.get_or_insert(failure);
                        return None;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the media store failed; trying again");
                    self.pause(3).await;
                }
            }
        }
    }
}

fn file(var: String, node_id: String, stored_as: String, filename: String, stored: StoredFile) -> MediaFile {
    let StoredFile { bytes, sha256, content_type, .. } = stored;
    MediaFile { var, node_id, kind: MediaKind::File, stored_as, filename, content_type, bytes, sha256 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> OutputText {
        OutputText { var: "v".to_owned(), node_id: "1".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn texts_stay_inline_up_to_their_limit_and_that_of_all_together() {
        let SplitTexts { inline, as_files } =
            split(["four", "fives", "fou", "two2", "", "o"].map(text).into(), 4, 8);
        let inline: Vec<_> = inline.iter().map(|text| text.text.as_str()).collect();
        assert_eq!(inline, ["four", "fou", "", "o"]);
        assert_eq!(as_files, [text("fives"), text("two2")]);
    }
}
