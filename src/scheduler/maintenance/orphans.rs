//! Removes files that belong to no job. A process that is killed between purging a job and deleting its files
//! leaves them.

use crate::core::GatewayCore;
use crate::media::MediaError;
use crate::store::StoreError;

/// Removes the files of jobs that the store does not know. Returns how many jobs they were of.
///
/// # Errors
/// The media store cannot be listed, or the store cannot be asked.
pub async fn sweep_orphans(core: &GatewayCore) -> Result<usize, SweepError> {
    let mut swept = 0;
    for id in core.media.jobs().await? {
        if core.store.status(id).await?.is_none() {
            core.media.remove(id).await?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Why the sweep failed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The media store failed.
    #[error(transparent)]
    Media(#[from] MediaError),
}
