//! The media store on a file system: stream → temporary file → fsync → rename → fsync of the folders.
//! Layout: `<root>/<last two digits of the id>/<id>/<name>`; unfinished files stand in `<root>/incoming`.

use std::io::{ErrorKind, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use super::content_type::{HEAD, content_type};
use super::{MediaError, MediaStore, Source, Stored};
use crate::domain::id::PromptId;

/// Bytes read from disk at once.
const READ_CHUNK: usize = 64 * 1024;

/// The [`MediaStore`] below one folder.
#[derive(Debug)]
pub struct FsMediaStore {
    root: PathBuf,
    next: AtomicU64,
}

impl FsMediaStore {
    /// Opens the store below `root`, making it if need be; removes what an earlier process left unfinished.
    ///
    /// # Errors
    /// Any I/O error.
    pub async fn open(root: PathBuf) -> Result<Self, MediaError> {
        let incoming = root.join("incoming");
        match fs::remove_dir_all(&incoming).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => fs::create_dir_all(&incoming).await?,
        }
        Ok(Self { root, next: AtomicU64::new(0) })
    }

    fn folder(&self, id: PromptId) -> PathBuf {
        let id = id.to_string();
        self.root.join(&id[id.len() - 2..]).join(id)
    }

    async fn receive(&self, path: &Path, name: &str, mut source: Source<'_>) -> Result<Stored, MediaError> {
        let mut file = File::create(path).await?;
        let (mut hash, mut bytes, mut head) = (Sha256::new(), 0u64, Vec::with_capacity(HEAD));
        while let Some(chunk) = source.next().await {
            let chunk = chunk.map_err(MediaError::Source)?;
            head.extend_from_slice(&chunk[..chunk.len().min(HEAD - head.len())]);
            hash.update(&chunk);
            bytes += chunk.len() as u64;
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        file.sync_all().await?;
        let sha256 =
            hash.finalize().iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"));
        Ok(Stored { bytes, sha256, content_type: content_type(&head, name) })
    }
}

/// Removes an unfinished file when its writing fails or is given up.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = std::fs::remove_file(&path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "an unfinished media file stays behind until the next start");
        }
    }
}

#[async_trait]
impl MediaStore for FsMediaStore {
    async fn put(&self, id: PromptId, name: &str, source: Source<'_>) -> Result<Stored, MediaError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let incoming = self.root.join("incoming").join(number.to_string());
        let mut unfinished = Unfinished(Some(incoming.clone()));
        let stored = self.receive(&incoming, name, source).await?;
        let folder = self.folder(id);
        let is_new = !fs::try_exists(&folder).await?;
        fs::create_dir_all(&folder).await?;
        fs::rename(&incoming, folder.join(name)).await?;
        unfinished.0 = None;
        File::open(&folder).await?.sync_all().await?;
        if is_new {
            // A folder is as durable as its entry in the one above it.
            for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.root)) {
                File::open(above).await?.sync_all().await?;
            }
        }
        Ok(stored)
    }

    async fn read(
        &self,
        id: PromptId,
        name: &str,
        range: Range<u64>,
    ) -> Result<Option<Source<'static>>, MediaError> {
        let mut file = match File::open(self.folder(id).join(name)).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if range.start > 0 {
            file.seek(SeekFrom::Start(range.start)).await?;
        }
        let bytes = ReaderStream::with_capacity(file.take(range.end - range.start), READ_CHUNK);
        Ok(Some(bytes.map(|chunk| chunk.map_err(Into::into)).boxed()))
    }

    async fn remove(&self, id: PromptId) -> Result<(), MediaError> {
        match fs::remove_dir_all(self.folder(id)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn jobs(&self) -> Result<Vec<PromptId>, MediaError> {
        let mut found = Vec::new();
        let mut shards = fs::read_dir(&self.root).await?;
        while let Some(shard) = shards.next_entry().await? {
            if shard.file_name().len() != 2 || !shard.file_type().await?.is_dir() {
                continue;
            }
            let mut jobs = fs::read_dir(shard.path()).await?;
            while let Some(job) = jobs.next_entry().await? {
                found.extend(job.file_name().to_str().and_then(|name| PromptId::parse(name).ok()));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::UnixMillis;
    use bytes::Bytes;
    use futures_util::stream;

    fn id(which: u8) -> PromptId {
        PromptId::from_parts(UnixMillis::from_millis(1), [which; 10])
    }

    fn source(chunks: &[&'static str]) -> Source<'static> {
        stream::iter(chunks.to_vec()).map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).boxed()
    }

    async fn text(store: &FsMediaStore, id: PromptId, name: &str, range: Range<u64>) -> Option<String> {
        let bytes = store.read(id, name, range).await.unwrap()?;
        let chunks: Vec<Bytes> = bytes.map(Result::unwrap).collect().await;
        Some(String::from_utf8(chunks.concat()).unwrap())
    }

    fn unfinished(root: &Path) -> usize {
        std::fs::read_dir(root.join("incoming")).unwrap().count()
    }

    #[tokio::test]
    async fn a_file_goes_in_and_comes_out_by_ranges() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into()).await.unwrap();
        let stored = store.put(id(1), "a.txt", source(&["hello ", "world"])).await.unwrap();
        assert_eq!(stored.bytes, 11);
        assert_eq!(stored.sha256, "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9");
        assert_eq!(text(&store, id(1), "a.txt", 0..11).await.unwrap(), "hello world");
        assert_eq!(text(&store, id(1), "a.txt", 6..9).await.unwrap(), "wor");
        assert_eq!(text(&store, id(1), "b.txt", 0..1).await, None);
        assert_eq!(store.jobs().await.unwrap(), [id(1)]);
        assert_eq!(unfinished(root.path()), 0);
    }

    #[tokio::test]
    async fn a_file_that_breaks_off_leaves_nothing_and_keeps_the_one_before() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into()).await.unwrap();
        store.put(id(1), "a.txt", source(&["whole"])).await.unwrap();
        let broken = stream::iter([Ok(Bytes::from_static(b"ha")), Err("reset".into())]).boxed();
        assert!(matches!(store.put(id(1), "a.txt", broken).await, Err(MediaError::Source(_))));
        assert_eq!(text(&store, id(1), "a.txt", 0..5).await.unwrap(), "whole");
        assert_eq!(unfinished(root.path()), 0);
    }

    #[tokio::test]
    async fn a_writer_that_is_given_up_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into()).await.unwrap();
        {
            let endless = stream::iter([Ok(Bytes::from_static(b"ha"))]).chain(stream::pending()).boxed();
            let put = store.put(id(1), "a.txt", endless);
            tokio::pin!(put);
            while unfinished(root.path()) == 0 {
                assert!(futures_util::poll!(&mut put).is_pending());
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(unfinished(root.path()), 0);
    }

    #[tokio::test]
    async fn a_start_sweeps_what_was_left_and_removal_is_idempotent() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into()).await.unwrap();
        store.put(id(1), "a.txt", source(&["x"])).await.unwrap();
        std::fs::write(root.path().join("incoming/7"), "half").unwrap();
        let store = FsMediaStore::open(root.path().into()).await.unwrap();
        assert_eq!(unfinished(root.path()), 0);
        store.remove(id(1)).await.unwrap();
        store.remove(id(1)).await.unwrap();
        assert_eq!(store.jobs().await.unwrap(), []);
    }
}
