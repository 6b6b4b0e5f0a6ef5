//! Bringing a file to ComfyUI: `POST /upload/image`, streamed. It must not know where the bytes come from.

use std::fmt;
use std::io;

use bytes::Bytes;
use futures_util::TryStream;
use reqwest::Body;
use reqwest::multipart::{Form, Part};

use super::client::ComfyClient;
use super::error::ComfyError;
use super::loose::LooseObject;
use super::routes::ComfyRoute;

/// The route takes files of any kind in spite of its name.
pub(super) const UPLOAD: ComfyRoute = ComfyRoute::post("/upload/image");

/// A file to bring to a server's input folder.
pub struct InputUpload {
    filename: String,
    subfolder: String,
    overwrite: bool,
    length: Option<u64>,
    body: Body,
}

impl InputUpload {
    /// A file that is in memory.
    pub fn bytes(filename: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = u64::try_from(bytes.len()).ok();
        Self::new(filename.into(), length, bytes.into())
    }

    /// A file of which the pieces come one by one; `length` in bytes, where it is known. An error of the
    /// stream breaks the upload off, and the server keeps nothing.
    pub fn stream<S>(filename: impl Into<String>, length: Option<u64>, pieces: S) -> Self
    where
        S: TryStream<Ok = Bytes, Error = io::Error> + Send + 'static,
    {
        Self::new(filename.into(), length, Body::wrap_stream(pieces))
    }

    fn new(filename: String, length: Option<u64>, body: Body) -> Self {
        Self { filename, subfolder: String::new(), overwrite: false, length, body }
    }

    /// Puts it into a folder below the input folder.
    #[must_use]
    pub fn subfolder(mut self, subfolder: impl Into<String>) -> Self {
        self.subfolder = subfolder.into();
        self
    }

    /// Replaces a file of the same name. Otherwise another name is found unless the contents are the same.
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    fn into_form(self) -> Form {
        let part = match self.length {
            Some(length) => Part::stream_with_length(self.body, length),
            None => Part::stream(self.body),
        };
        let mut form = Form::new().text("type", "input");
        if !self.subfolder.is_empty() {
            form = form.text("subfolder", self.subfolder);
        }
        if self.overwrite {
            form = form.text("overwrite", "true");
        }
        // The file comes last: ComfyUI reads the form to its end before it acts, and so can others earlier.
        form.part("image", part.file_name(self.filename))
    }
}

impl fmt::Debug for InputUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("filename", &self.filename)
            .field("subfolder", &self.subfolder)
            .field("overwrite", &self.overwrite)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Where an uploaded file is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedInput {
    /// Its name; not always the one that was asked for.
    pub name: String,
    /// Its folder below the one of `kind`; mostly empty.
    pub subfolder: String,
    /// `input`: `type` in ComfyUI's JSON.
    pub kind: String,
}

impl UploadedInput {
    /// What a `LoadImage` and its kin take: the name, with its folder in front if it has one.
    #[must_use]
    pub fn input_value(&self) -> String {
        if self.subfolder.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.subfolder, self.name)
        }
    }
}

impl ComfyClient {
    /// Brings a file to the server. Use the name in the answer. Bodies over 100 MiB are refused with 413 by a
    /// server that is not told otherwise.
    ///
    /// # Errors
    /// Every [`super::CallFault`] of a call. After one the file may be there or not.
    pub async fn upload(&self, upload: InputUpload) -> Result<UploadedInput, ComfyError> {
        let request = self.call(UPLOAD, None, &[]).await?;
        let request = request.multipart(upload.into_form()).timeout(self.endpoint().timeouts.upload);
        let response = self.send(UPLOAD, request).await?;
        let response = self.successful(UPLOAD, response).await?;
        let body = self.read(UPLOAD, response, self.endpoint().limits.json).await?;
        let body = super::sanitize::clean_text(body);
        let answer = LooseObject::parse(&body).map_err(|error| self.malformed(UPLOAD, error))?;
        let name = answer.text("name").ok_or_else(|| self.malformed(UPLOAD, "it has no name"))?;
        Ok(UploadedInput {
            name,
            subfolder: answer.text("subfolder").unwrap_or_default(),
            kind: answer.text("type").unwrap_or_else(|| "input".to_owned()),
        })
    }
}
