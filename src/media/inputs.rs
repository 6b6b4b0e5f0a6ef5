//! Input files, each stored once under the SHA-256 of its bytes: `<root>/inputs/<two digits>/<hash>`. A
//! file's modification time is the last moment at which it was used.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::store::MediaError;
use crate::domain::time::UnixMillis;
use crate::lock::LockExt;

/// The folder of inputs.
#[derive(Debug)]
pub(super) struct InputFolder {
    root: PathBuf,
    /// Held while a file's age and its place must not change between two steps.
    places: Mutex<()>,
}

impl InputFolder {
    pub fn new(root: &Path) -> Self {
        Self { root: root.join("inputs"), places: Mutex::new(()) }
    }

    /// The path of the file with that hash; `None` if the text is not a hash.
    pub fn path(&self, sha256: &str) -> Option<PathBuf> {
        let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then(|| self.root.join(&sha256[..2]).join(sha256))
    }

    /// Moves or links the file at `from` to its place with `place`, and sets its age to `at`.
    pub async fn take(
        &self,
        from: PathBuf,
        sha256: &str,
        at: UnixMillis,
        place: fn(&Path, &Path) -> std::io::Result<()>,
    ) -> Result<(), MediaError> {
        let to = self.path(sha256).ok_or_else(|| std::io::Error::other("no SHA-256"))?;
        let (folder, root) = (to.with_file_name(""), self.root.clone());
        tokio::fs::create_dir_all(&folder).await?;
        {
            let _places = self.places.lock_anyway();
            place(&from, &to)?;
            std::fs::File::open(&to)?.set_modified(system_time(at))?;
        }
        for folder in [folder.as_path(), root.as_path()] {
            tokio::fs::File::open(folder).await?.sync_all().await?;
        }
        Ok(())
    }

    /// The hashes of files last used before `cutoff`.
    pub async fn before(&self, cutoff: UnixMillis) -> Result<Vec<String>, MediaError> {
        let mut found = Vec::new();
        let mut shards = match tokio::fs::read_dir(&self.root).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
            shards => shards?,
        };
        while let Some(shard) = shards.next_entry().await? {
            let mut files = tokio::fs::read_dir(shard.path()).await?;
            while let Some(file) = files.next_entry().await? {
                if file.metadata().await?.modified()? < system_time(cutoff) {
                    found.extend(file.file_name().into_string());
                }
            }
        }
        Ok(found)
    }

    /// Sets a file's age to `at`. Returns whether the file exists.
    pub fn renew(&self, sha256: &str, at: UnixMillis) -> Result<bool, MediaError> {
        let Some(path) = self.path(sha256) else { return Ok(false) };
        let _places = self.places.lock_anyway();
        match std::fs::File::open(path) {
            Ok(file) => Ok(file.set_modified(system_time(at)).map(|()| true)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file, unless it was used since `cutoff`.
    pub fn remove(&self, sha256: &str, cutoff: UnixMillis) -> Result<bool, MediaError> {
        let Some(path) = self.path(sha256) else { return Ok(false) };
        let _places = self.places.lock_anyway();
        match std::fs::metadata(&path).and_then(|meta| meta.modified()) {
            Ok(modified) if modified < system_time(cutoff) => Ok(std::fs::remove_file(&path).map(|()| true)?),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Links the file to a second name. A file that is there already stays, because its bytes are the same.
pub(super) fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(from, to) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

fn system_time(at: UnixMillis) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(0))
}
