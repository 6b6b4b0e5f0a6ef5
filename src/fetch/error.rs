//! What can go wrong when a URL is fetched, and whether trying again may help. It must not decide whether to.

use std::error::Error;
use std::time::Duration;

use bytesize::ByteSize;
use url::Url;

use super::guard::GuardRefusal;
use super::lookup::UnresolvedName;

/// A fetch that failed: at which host, and how. Safe to show: of the URL it holds only the host, for paths and
/// queries of signed URLs are secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host}: {fault}")]
pub struct FetchError {
    /// The host that was asked; after a redirect, the one it led to.
    pub host: String,
    /// What went wrong.
    pub fault: FetchFault,
}

impl FetchError {
    pub(super) fn new(url: &Url, fault: FetchFault) -> Self {
        Self { host: url.host_str().unwrap_or("a URL without a host").to_owned(), fault }
    }

    /// Whether the same URL may be had at another time.
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

/// How a fetch failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchFault {
    /// The guard lets nobody go there.
    #[error("refused: {0}")]
    Refused(#[from] GuardRefusal),
    /// The name has no address.
    #[error("its name cannot be resolved: {reason}")]
    Unresolved {
        /// What the resolver said.
        reason: String,
    },
    /// No connection.
    #[error("no connection: {reason}")]
    Unreachable {
        /// What the connection attempt ended with.
        reason: String,
    },
    /// The host cannot prove that it is the one.
    #[error("its certificate is not trusted: {reason}")]
    Untrusted {
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("nothing came for {} s", after.as_secs_f32())]
    Stalled {
        /// [`super::FetchLimits::idle`].
        after: Duration,
    },
    /// All of it took too long.
    #[error("took longer than the limit of {} s (fetch_timeout)", after.as_secs_f32())]
    Late {
        /// [`super::FetchLimits::total`].
        after: Duration,
    },
    /// An answer that is no file.
    #[error("answered {code}")]
    Status {
        /// The HTTP status.
        code: u16,
    },
    /// One redirect led to the next.
    #[error("redirects more than {limit} times")]
    Redirects {
        /// How many are followed.
        limit: usize,
    },
    /// A redirect that leads nowhere.
    #[error("redirects without a URL")]
    Location,
    /// A redirect that gives up what `https` promised.
    #[error("redirects from https:// to http://")]
    Downgrade,
    /// The body is compressed although that was not asked for; it is never unpacked, so that it cannot burst.
    #[error("answered with a compressed body, which was not asked for")]
    Encoded,
    /// More bytes than allowed, announced or come.
    #[error("is larger than the limit of {} (fetch_max_bytes)", ByteSize(*limit).display().iec())]
    TooLarge {
        /// [`super::FetchLimits::bytes`].
        limit: u64,
    },
    /// The exchange broke, or the body ended before its announced end.
    #[error("the transfer broke: {reason}")]
    Broken {
        /// What it broke with.
        reason: String,
    },
}

impl FetchFault {
    /// What a failed exchange amounts to.
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
        // The innermost message: the outer ones may show the URL.
        let reason = causes(error).last().map(ToString::to_string).unwrap_or_default();
        if error.is_connect() { Self::Unreachable { reason } } else { Self::Broken { reason } }
    }
}

/// The TLS error, which travels inside an I/O error that does not show it as its source.
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
