//! What a caller's URL points at: whether it may be fetched, and the bytes of it, as they come. It must not know
//! what they are for, where they are kept, or who fetches again after a failure.
//!
//! Whoever may post a job could make the gateway ask addresses that only the gateway can reach: the cloud's
//! metadata service, a database without a password, its own ComfyUI. So every host is held against the [`AddressGuard`], the
//! addresses that were checked are the ones connected to, and each redirect is a new URL to check.

mod allow;
mod download;
mod error;
mod fetcher;
mod file_name;
mod guard;
mod lookup;
mod patience;
mod ranges;

pub use allow::AllowList;
pub use download::OpenDownload;
pub use error::{FetchError, FetchFault};
pub use fetcher::{FetcherError, UrlFetcher};
pub use guard::{AddressGuard, GuardRefusal, UrlClearance};
pub use lookup::{GuardedLookup, NameLookup, SystemLookup};
pub use patience::FetchLimits;

/// What may be fetched, and how much of it.
#[derive(Debug, Clone, Default)]
pub struct FetchSettings {
    /// What may be fetched although it is not on the public internet.
    pub allow: AllowList,
    /// What one file may take.
    pub limits: FetchLimits,
}
