//! Input files of a job: the forms in which a caller may give one, and what a job keeps of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::id::{FileId, PromptId};
use super::workflow::ObjectEntries;

/// A caller's value for a media parameter, or for one item of a list of them.
#[derive(Clone, PartialEq, Eq)]
pub enum MediaValue<'a> {
    /// A file in the input folder of the backend already, by its name.
    OnServer(String),
    /// A URL to fetch, or a media URL of the gateway itself.
    Url(String),
    /// The bytes themselves, as base64.
    Inline {
        /// The base64 text.
        base64: std::borrow::Cow<'a, str>,
        /// The caller's name for it.
        filename: Option<String>,
    },
    /// A file of an earlier `POST /files`.
    File(FileId),
    /// An output file of an earlier job.
    Result {
        /// The job.
        prompt_id: PromptId,
        /// The `$output.NAME`, or the node's id. It may be missing if the job made only one file.
        var: Option<String>,
        /// The index of the output's file, from 0.
        index: usize,
    },
    /// A part of the request's multipart body, by its index.
    Part(usize),
}

impl fmt::Debug for MediaValue<'_> {
    /// Shows neither secrets (a URL may carry a signature) nor long values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnServer(name) => f.debug_tuple("OnServer").field(name).finish(),
            Self::Url(_) => f.write_str("Url(..)"),
            Self::Inline { base64, .. } => write!(f, "Inline({} characters)", base64.len()),
            Self::File(id) => f.debug_tuple("File").field(id).finish(),
            Self::Result { prompt_id, .. } => f.debug_tuple("Result").field(prompt_id).finish(),
            Self::Part(place) => f.debug_tuple("Part").field(place).finish(),
        }
    }
}

/// The allowed forms; ends the sentence "must be …".
const TAKES: &str = "a URL, a data URL, {\"base64\": …}, {\"file\": …}, {\"result\": …, \"var\": …} or the name of a file on the ComfyUI backend";

impl<'a> MediaValue<'a> {
    /// Parses one value.
    ///
    /// # Errors
    /// The fault; ends the sentence that begins with the parameter's name.
    pub fn read(raw: &'a RawValue) -> Result<Self, String> {
        let text = raw.get().trim();
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<String>(text)
                .map_err(|error| format!("is not readable: {error}"))
                .and_then(Self::read_text),
            Some(b'{') => Self::read_object(text),
            _ => Err(format!("must be {TAKES}")),
        }
    }

    /// Parses a text value.
    ///
    /// # Errors
    /// As for [`MediaValue::read`].
    pub fn read_text(text: String) -> Result<Self, String> {
        let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("data") => read_data_url(&text),
            Some("http" | "https") => Ok(Self::Url(text)),
            _ if text.contains("://") => {
                Err("must be an http or https URL; no other scheme is fetched".to_owned())
            }
            _ if text.starts_with("/media/") => Ok(Self::Url(text)),
            _ if text.trim().is_empty() => Err(format!("must be {TAKES}, not an empty text")),
            _ => Ok(Self::OnServer(text)),
        }
    }

    fn read_object(text: &'a str) -> Result<Self, String> {
        let ObjectEntries(entries) =
            serde_json::from_str(text).map_err(|error| format!("is not readable: {error}"))?;
        let known: &[&str] = match entries
            .iter()
            .map(|(key, _)| key.as_str())
            .find(|key| ["base64", "file", "result"].contains(key))
        {
            Some("base64") => &["base64", "filename"],
            Some("file") => &["file"],
            Some(_) => &["result", "var", "index"],
            None => return Err(format!("must be {TAKES}")),
        };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            return Err(format!("has the unknown key {key:?} beside {:?}", known[0]));
        }
        let get = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, raw)| raw.get());
        let words = |key: &str| {
            get(key)
                .map(|raw| {
                    serde_json::from_str::<String>(raw)
                        .map_err(|_| format!("has a {key:?} that is not a text"))
                })
                .transpose()
        };
        match known[0] {
            "base64" => Ok(Self::Inline {
                base64: words("base64")?.unwrap_or_default().into(),
                filename: words("filename")?,
            }),
            "file" => FileId::parse(&words("file")?.unwrap_or_default())
                .map(Self::File)
                .map_err(|error| format!("names no file: {error}")),
            _ => Ok(Self::Result {
                prompt_id: PromptId::parse(&words("result")?.unwrap_or_default())
                    .map_err(|error| format!("names no job: {error}"))?,
                var: words("var")?,
                index: get("index").map_or(Ok(0), |raw| {
                    serde_json::from_str(raw)
                        .map_err(|_| "has an \"index\" that is no whole number of 0 or more".to_owned())
                })?,
            }),
        }
    }
}

/// `data:[<type>][;base64],<data>` (RFC 2397). Only base64 is accepted, because pictures have no other form
/// in practice.
fn read_data_url(text: &str) -> Result<MediaValue<'static>, String> {
    let (head, data) = text["data:".len()..].split_once(',').ok_or("is a data URL without a comma")?;
    if !head.split(';').skip(1).any(|word| word.trim().eq_ignore_ascii_case("base64")) {
        return Err(
            "is a data URL that is not base64: it should begin like data:image/png;base64,".to_owned()
        );
    }
    Ok(MediaValue::Inline { base64: data.to_owned().into(), filename: None })
}

/// A file in the media store. It is uploaded to the backend that runs the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredInput {
    /// The lowercase hexadecimal SHA-256 of its bytes, which is its key in the media store.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its name on every backend.
    pub name: String,
}

/// One input file of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobInput {
    /// The file is stored.
    Stored(StoredInput),
    /// The file is still to be fetched.
    Remote(RemoteInput),
}

/// A file that is still to be fetched.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteInput {
    /// Its URL. The URL may carry a signature, so it never reaches logs, results or errors.
    pub url: String,
    /// The placeholder in the graph until the file's name is known.
    pub placeholder: String,
    /// The parameter that it was given for.
    pub param: String,
}

impl fmt::Debug for RemoteInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteInput").field("param", &self.param).finish_non_exhaustive()
    }
}

/// The placeholder in a job's graph for the name of file number `at`. No caller can have written it, because
/// it contains the job's id.
#[must_use]
pub fn placeholder(job: PromptId, at: usize) -> String {
    format!("comfy-gateway-input-{job}-{at}")
}

/// The name of a file on every backend. It is made from the file's bytes, so that names never collide and
/// equal files are one file. `extension` has no dot and may be empty.
#[must_use]
pub fn server_name(sha256: &str, extension: &str) -> String {
    if extension.is_empty() { format!("cg-{sha256}") } else { format!("cg-{sha256}.{extension}") }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
