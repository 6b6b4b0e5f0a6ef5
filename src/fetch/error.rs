//! Errors of fetching a URL, and whether another try may help.

use std::error::Error;
use std::time::Duration;

use bytesize::ByteSize;
use url::Url;

use super::guard::GuardRefusal;
use super::lookup::UnresolvedName;

/// A failed fetch: the host and the cause. It is safe to show, because it holds only the host: paths and
/// queries of signed URLs are secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host}: {fault}")]
pub struct FetchError {
    /// The host that was contacted, which is the last one after redirects.
    pub host: String,
    /// What went wrong.
    pub fault: FetchFault,
}

impl FetchError {
    pub(super) fn new(url: &Url, fault: FetchFault) -> Self {
        Self { host: url.host_str().unwrap_or("a URL without a host").to_owned(), fault }
    }

    /// Whether another try may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.fault {
            FetchFault::Unresolved { .. }
            | FetchFault::Unreachable { .. }
            | FetchFault::Stalled { .. }
            | FetchFault::Broken { .. } => true,
            FetchFault::Status { code } => code >= 500 || matches!(code, 408 | 425 | 429),
            FetchFault::Refused(_)
            | FetchFault::Untrusted { .. }
            | FetchFault::Late { .. }
            | FetchFault::Redirects { .. }
            | FetchFault::Location
            | FetchFault::Downgrade
            | FetchFault::Encoded
            | FetchFault::TooLarge { .. } => false,
        }
    }
}

/// The cause of a failed fetch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchFault {
    /// The guard refused the URL or its address.
    #[error("refused: {0}")]
    Refused(#[from] GuardRefusal),
    /// The name has no address.
    #[error("its name cannot be resolved: {reason}")]
    Unresolved {
        /// The resolver's message.
        reason: String,
    },
    /// No connection could be opened.
    #[error("no connection: {reason}")]
    Unreachable {
        /// The error of the connection attempt.
        reason: String,
    },
    /// The host's TLS certificate is not valid.
    #[error("its certificate is not trusted: {reason}")]
    Untrusted {
        /// The TLS error.
        reason: String,
    },
    /// No byte arrived for too long.
    #[error("nothing came for {} s", after.as_secs_f32())]
    Stalled {
        /// [`super::FetchLimits::idle`].
        after: Duration,
    },
    /// The whole transfer took too long.
    #[error("took longer than the limit of {} s (fetch_timeout)", after.as_secs_f32())]
    Late {
        /// [`super::FetchLimits::total`].
        after: Duration,
    },
    /// The answer is not a file.
    #[error("answered {code}")]
    Status {
        /// The HTTP status.
        code: u16,
    },
    /// There were too many redirects.
    #[error("redirects more than {limit} times")]
    Redirects {
        /// The most redirects that are followed.
        limit: usize,
    },
    /// A redirect without a valid target.
    #[error("redirects without a URL")]
    Location,
    /// A redirect from `https` to `http`.
    #[error("redirects from https:// to http://")]
    Downgrade,
    /// The body is compressed although that was not requested. It is never unpacked, so it cannot be a
    /// decompression bomb.
    #[error("answered with a compressed body, which was not asked for")]
    Encoded,
    /// The file has more bytes than allowed, announced or received.
    #[error("is larger than the limit of {} (fetch_max_bytes)", ByteSize(*limit).display().iec())]
    TooLarge {
        /// [`super::FetchLimits::bytes`].
        limit: u64,
    },
    /// The exchange broke off, or the body ended before its announced end.
    #[error("the transfer broke: {reason}")]
    Broken {
        /// The error.
        reason: String,
    },
}

impl FetchFault {
    /// Classifies the error of a failed exchange.
    pub(super) fn of_exchange(error: &reqwest::Error) -> Self {
        if let Some(refused) = find::<GuardRefusal>(error) {
            return Self::Refused(*refused);
        }
        if let Some(unresolved) = find::<UnresolvedName>(error) {
            return Self::Unresolved { reason: unresolved.to_string() };
        }
        if let Some(reason @ rustls::Error::InvalidCertificate(_)) = tls(error) {
            return Self::Untrusted { reason: reason.to_string() };
        }
        // The innermost message, because the outer ones may show the URL.
        let reason = causes(error).last().map(ToString::to_string).unwrap_or_default();
        if error.is_connect() { Self::Unreachable { reason } } else { Self::Broken { reason } }
    }
}

/// The TLS error, which is inside an I/O error that does not name it as its source.
fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = || causes(error).filter_map(|cause| cause.downcast_ref::<std::io::Error>()?.get_ref());
    find(error).or_else(|| inner().find_map(|cause| cause.downcast_ref()))
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fault: FetchFault) -> FetchError {
        FetchError::new(&Url::parse("https://cdn.example:8443/secret/path?sig=secret#secret").unwrap(), fault)
    }

    #[test]
    fn the_message_names_host_reason_and_limit_but_nothing_else_of_the_url() {
        for (fault, message) in [
            (
                FetchFault::TooLarge { limit: 1 << 30 },
                "cdn.example: is larger than the limit of 1.0 GiB (fetch_max_bytes)",
            ),
            (
                FetchFault::Late { after: Duration::from_mins(2) },
                "cdn.example: took longer than the limit of 120 s (fetch_timeout)",
            ),
            (FetchFault::Status { code: 404 }, "cdn.example: answered 404"),
            (
                GuardRefusal::Credentials.into(),
                "cdn.example: refused: a URL with a user or a password is not fetched",
            ),
        ] {
            let error = error(fault);
            assert_eq!(error.to_string(), message);
            assert!(!format!("{error:?}").contains("secret"));
        }
    }

    #[test]
    fn what_another_try_may_cure_is_retryable() {
        let status = |code| error(FetchFault::Status { code }).is_retryable();
        let codes = [429, 500, 503, 408, 404, 403, 301].map(status);
        assert_eq!(codes, [true, true, true, true, false, false, false]);
        let reason = String::new();
        assert!(error(FetchFault::Unreachable { reason: reason.clone() }).is_retryable());
        assert!(error(FetchFault::Broken { reason: reason.clone() }).is_retryable());
        assert!(!error(FetchFault::Untrusted { reason }).is_retryable());
        assert!(!error(GuardRefusal::LocalName.into()).is_retryable());
        assert!(!error(FetchFault::TooLarge { limit: 1 }).is_retryable());
    }
}
