//! Downloading a file from a backend: `GET /view`, streamed.

use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::client::ComfyClient;
use super::error::{CallFault, ComfyError};
use super::routes::ComfyRoute;
use crate::domain::outputs::FileRef;

const VIEW: ComfyRoute = ComfyRoute::get("/view");

/// A file that is being downloaded. Dropping it aborts the transfer.
#[derive(Debug)]
pub struct ViewStream {
    client: ComfyClient,
    response: reqwest::Response,
}

impl ComfyClient {
    /// Opens a file. Download the files of a job soon: ComfyUI reuses the names of deleted files, and a restart deletes
    /// those of type `temp`.
    ///
    /// # Errors
    /// The file does not exist ([`CallFault::NotFound`]), or the call fails with any other fault.
    pub async fn view(&self, file: &FileRef) -> Result<ViewStream, ComfyError> {
        let query = [("filename", &*file.filename), ("subfolder", &*file.subfolder), ("type", &*file.kind)];
        let request = self.call(VIEW, None, &query).await?;
        let after = self.endpoint().timeouts.request;
        // Only the head has a timeout. The body of a large file may take any time while pieces keep arriving.
        let head = tokio::time::timeout(after, self.send(VIEW, request)).await;
        let response = head.map_err(|_elapsed| self.error(VIEW, CallFault::Timeout { after }))??;
        let response = if response.status().is_success() {
            response
        } else {
            let body = tokio::time::timeout(after, self.require_success(VIEW, response)).await;
            body.map_err(|_elapsed| self.error(VIEW, CallFault::Timeout { after }))??
        };
        Ok(ViewStream { client: self.clone(), response })
    }
}

impl ComfyClient {
    /// The size in bytes of a file in the input folder; `None` if it does not exist or its size is not reported.
    ///
    /// # Errors
    /// The call fails with any fault but [`CallFault::NotFound`].
    pub async fn input_size(&self, name: &str) -> Result<Option<u64>, ComfyError> {
        let query = [("filename", name), ("type", "input")];
        let prefix = self.route_prefix().await?;
        let request = self.http().head(prefix.url(self.base(), VIEW, None, &query));
        let response = self.send(VIEW, request.timeout(self.endpoint().timeouts.request)).await?;
        let size = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match self.require_success(VIEW, response).await {
            Ok(_) => Ok(size),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl ViewStream {
    /// The size of the file in bytes, if the backend reports it.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The media type that the backend reports. ComfyUI derives it from the file extension, so it can be missing or
    /// too general.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.response.headers().get(CONTENT_TYPE)?.to_str().ok()
    }

    /// The next piece; `None` after the whole announced content.
    ///
    /// # Errors
    /// [`CallFault::Timeout`] if no piece arrives within [`super::CallTimeouts::stall`], and [`CallFault::Broken`] if
    /// the transfer ends before the whole announced content has arrived.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ComfyError> {
        let after = self.client.endpoint().timeouts.stall;
        match tokio::time::timeout(after, self.response.chunk()).await {
            Ok(piece) => piece.map_err(|error| self.client.exchange_error(VIEW, &error)),
            Err(_elapsed) => Err(self.client.error(VIEW, CallFault::Timeout { after })),
        }
    }

    /// Turns the file into a stream of pieces, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ComfyError>> + Send + 'static {
        futures_util::stream::try_unfold(self, |mut file| async move {
            Ok(file.chunk().await?.map(|piece| (piece, file)))
        })
    }
}
