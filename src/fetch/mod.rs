//! Fetches the files that callers name by URL, safely and as streams.
//!
//! A caller who may submit jobs could make the gateway reach addresses that only the gateway can reach: a
//! cloud's metadata service, a database without a password, its own ComfyUI. So the [`AddressGuard`] checks
//! every host, connections go only to the addresses that were checked, and each redirect is checked as a new
//! URL.

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

/// The settings of fetching.
#[derive(Debug, Clone, Default)]
pub struct FetchSettings {
    /// Hosts and networks that are allowed although they are not public.
    pub allow: AllowList,
    /// The limits of one file.
    pub limits: FetchLimits,
}
