//! A download under way, counted as it arrives.

use std::fmt;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::Response;
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName};
use url::Url;

use super::error::{FetchError, FetchFault};
use super::file_name;
use super::patience::TimeBudget;

/// The longest header value that is passed on, in bytes.
const LONGEST_VALUE: usize = 1024;

/// A file whose response head has arrived. Dropping it ends the transfer.
pub struct OpenDownload {
    url: Url,
    response: Response,
    patience: TimeBudget,
    limit: u64,
    left: u64,
}

impl OpenDownload {
    /// Takes the body of `response` from `url`, up to `limit` bytes.
    pub(super) fn new(
        url: Url,
        response: Response,
        patience: TimeBudget,
        limit: u64,
    ) -> Result<Self, FetchError> {
        let plain = |value: &[u8]| value.is_empty() || value.eq_ignore_ascii_case(b"identity");
        if !response.headers().get_all(CONTENT_ENCODING).iter().all(|value| plain(value.as_bytes())) {
            return Err(FetchError::new(&url, FetchFault::Encoded));
        }
        if response.content_length().is_some_and(|announced| announced > limit) {
            return Err(FetchError::new(&url, FetchFault::TooLarge { limit }));
        }
        Ok(Self { url, response, patience, limit, left: limit })
    }

    /// The announced length in bytes, if any. It never exceeds the limit, and a shorter body is an error.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The media type that the host announced.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.header(&CONTENT_TYPE)
    }

    /// The `ETag` of the file, for [`super::UrlFetcher::open_if_none_match`].
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.header(&ETAG)
    }

    /// A file name from the response's headers or the URL; safe in a path, and `file` if there is none.
    #[must_use]
    pub fn file_name(&self) -> String {
        file_name::of(self.header(&CONTENT_DISPOSITION), &self.url)
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        let value = self.response.headers().get(name)?;
        std::str::from_utf8(value.as_bytes()).ok().filter(|value| value.len() <= LONGEST_VALUE)
    }

    /// The next piece; `None` after the last announced byte.
    ///
    /// # Errors
    /// A limit is reached, or the transfer broke. No further piece follows.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        self.next().await.map_err(|fault| FetchError::new(&self.url, fault))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, FetchFault> {
        let piece = self.patience.wait(self.response.chunk()).await?;
        let Some(piece) = piece.map_err(|error| FetchFault::of_exchange(&error))? else { return Ok(None) };
        let length = piece.len() as u64;
        self.left = self.left.checked_sub(length).ok_or(FetchFault::TooLarge { limit: self.limit })?;
        Ok(Some(piece))
    }

    /// The pieces as a stream that ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, FetchError>> + Send + 'static {
        futures_util::stream::try_unfold(self, |mut file| async move {
            Ok(file.chunk().await?.map(|piece| (piece, file)))
        })
    }
}

impl fmt::Debug for OpenDownload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}
