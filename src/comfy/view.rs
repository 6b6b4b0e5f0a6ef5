//! Fetching a file from ComfyUI: `GET /view`, streamed. It must not know where the bytes go.

use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::client::ComfyClient;
use super::error::{CallFault, ComfyError};
use super::routes::ComfyRoute;
use crate::domain::outputs::FileRef;

const VIEW: ComfyRoute = ComfyRoute::get("/view");

/// A file on its way. Dropping it ends the transfer.
#[derive(Debug)]
pub struct ViewStream {
    client: ComfyClient,
    response: reqwest::Response,
}

impl ComfyClient {
    /// Opens a file. Fetch a job's files at once: names are reused when files are deleted, and those of type
    /// `temp` are gone after a restart.
    ///
    /// # Errors
    /// [`CallFault::NotFound`] when the file is not there, and every other fault of a call.
    pub async fn view(&self, file: &FileRef) -> Result<ViewStream, ComfyError> {
        let query = [("filename", &*file.filename), ("subfolder", &*file.subfolder), ("type", &*file.kind)];
        let request = self.call(VIEW, None, &query).await?;
        let patience = self.endpoint().timeouts.request;
        // The request has no time limit of its own: a large file may take as long as it keeps coming.
        let head = tokio::time::timeout(patience, self.send(VIEW, request)).await;
        let response =
            head.map_err(|_elapsed| self.error(VIEW, CallFault::Timeout { after: patience }))??;
        let response = if response.status().is_success() {
            response
        } else {
            let body = tokio::time::timeout(patience, self.successful(VIEW, response)).await;
            body.map_err(|_elapsed| self.error(VIEW, CallFault::Timeout { after: patience }))??
        };
        Ok(ViewStream { client: self.clone(), response })
    }
}

impl ComfyClient {
    /// The size in bytes of a file in the server's input folder; `None` when it is not there, or its size is not told.
    ///
    /// # Errors
    /// Every fault of a call but [`CallFault::NotFound`].
    pub async fn input_size(&self, name: &str) -> Result<Option<u64>, ComfyError> {
        let query = [("filename", name), ("type", "input")];
        let form = self.form().await?;
        let request = self.http().head(form.url(self.base(), VIEW, None, &query));
        let response = self.send(VIEW, request.timeout(self.endpoint().timeouts.request)).await?;
        let size = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match self.successful(VIEW, response).await {
            Ok(_) => Ok(size),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl ViewStream {
    /// The file's size in bytes, if the server says it.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The type the server gives the file. It goes by the file's extension and may be missing or too general.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.response.headers().get(CONTENT_TYPE)?.to_str().ok()
    }

    /// The next piece; `None` at the end, when all that was announced has come.
    ///
    /// # Errors
    /// [`CallFault::Timeout`] when nothing comes for [`super::CallTimeouts::stall`], [`CallFault::Broken`] when the
    /// transfer ends before its announced end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ComfyError> {
        let after = self.client.endpoint().timeouts.stall;
        match tokio::time::timeout(after, self.response.chunk()).await {
            Ok(piece) => piece.map_err(|error| self.client.exchange(VIEW, &error)),
            Err(_elapsed) => Err(self.client.error(VIEW, CallFault::Timeout { after })),
        }
    }

    /// The pieces as a stream that ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ComfyError>> + Send + 'static {
        futures_util::stream::try_unfold(self, |mut file| async move {
            Ok(file.chunk().await?.map(|piece| (piece, file)))
        })
    }
}
