//! Uploading a file to a backend: `POST /upload/image`, streamed.

use std::fmt;
use std::io;

use bytes::Bytes;
use futures_util::TryStream;
use reqwest::Body;
use reqwest::multipart::{Form, Part};

use super::client::ComfyClient;
use super::error::ComfyError;
use super::loose::LooseObject;
use super::routes::UPLOAD;

/// A file to upload to the input folder of a backend.
pub struct InputUpload {
    filename: String,
    subfolder: String,
    overwrite: bool,
    length: Option<u64>,
    body: Body,
}

impl InputUpload {
    /// A file in memory.
    pub fn bytes(filename: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = u64::try_from(bytes.len()).ok();
        Self::new(filename.into(), length, bytes.into())
    }

    /// A file that is read piece by piece, of `length` bytes if that is known. An error of the stream aborts the
    /// upload, and ComfyUI keeps nothing of it.
    pub fn stream<S>(filename: impl Into<String>, length: Option<u64>, pieces: S) -> Self
    where
        S: TryStream<Ok = Bytes, Error = io::Error> + Send + 'static,
    {
        Self::new(filename.into(), length, Body::wrap_stream(pieces))
    }

    fn new(filename: String, length: Option<u64>, body: Body) -> Self {
        Self { filename, subfolder: String::new(), overwrite: false, length, body }
    }

    /// Stores the file in a folder below the input folder.
    #[must_use]
    pub fn subfolder(mut self, subfolder: impl Into<String>) -> Self {
        self.subfolder = subfolder.into();
        self
    }

    /// Sets whether to replace a file of the same name. Without it, ComfyUI stores the file under another
    /// name, unless both have the same content.
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
        // The file is the last part, so that a proxy or fork that streams the form knows the other fields first.
        form.part("image", part.file_name(self.filename))
    }
}

impl fmt::Debug for InputUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputUpload")
            .field("filename", &self.filename)
            .field("subfolder", &self.subfolder)
            .field("overwrite", &self.overwrite)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// The place of an uploaded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedInput {
    /// The name of the file, which can differ from the requested one.
    pub name: String,
    /// Its folder below the folder of `kind`; empty for that folder itself.
    pub subfolder: String,
    /// The folder, usually `input`; the field `type` in ComfyUI's JSON.
    pub kind: String,
}

impl UploadedInput {
    /// The value for a node input such as that of `LoadImage`: the name, after its folder if it has one.
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
    /// Uploads a file. Use the name in the result, which can differ from the requested one. By default, ComfyUI refuses
    /// bodies over 100 MiB with 413.
    ///
    /// # Errors
    /// The call fails with any [`super::CallFault`]. The file may have been stored all the same.
    pub async fn upload(&self, upload: InputUpload) -> Result<UploadedInput, ComfyError> {
        let request = self.call(UPLOAD, None, &[]).await?;
        let request = request.multipart(upload.into_form()).timeout(self.endpoint().timeouts.upload);
        let response = self.send(UPLOAD, request).await?;
        let response = self.require_success(UPLOAD, response).await?;
        let body = self.read_body(UPLOAD, response, self.endpoint().limits.json).await?;
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
