//! Files that belong to no job: left by a process that was killed between forgetting a job and its files.

use crate::core::GatewayCore;
use crate::media::MediaError;
use crate::store::StoreError;

/// Removes files of jobs that the store does not know.
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

/// Why orphaned files could not be swept.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The media store failed.
    #[error(transparent)]
    Media(#[from] MediaError),
}
