//! The media store on a file system: stream → temporary file → fsync → rename → fsync of the folders.
//! Layout: `<root>/<last two digits of the id>/<id>/<name>`. Unfinished files are in `<root>/incoming`,
//! inputs in `<root>/inputs`.

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

use super::content_type::{HEAD, content_type, extension};
use super::inputs::{self, InputFolder};
use super::store::{ByteSource, IncomingFile, MediaError, MediaStore, SizeBounds, StoredFile};
use super::unfinished::UnfinishedFile;
use crate::disk::Disk;
use crate::domain::id::PromptId;
use crate::domain::time::UnixMillis;

/// Bytes read from disk at once.
const READ_CHUNK: usize = 64 * 1024;

/// Bytes written between two checks of the disk's free space.
const LOOK: u64 = 1 << 20;

/// A [`MediaStore`] in one folder.
#[derive(Debug)]
pub struct FsMediaStore {
    root: PathBuf,
    disk: Disk,
    inputs: InputFolder,
    next: AtomicU64,
}

impl FsMediaStore {
    /// Opens the store in `root`, creates the folder if necessary, and removes files that an earlier process
    /// left unfinished. Files are refused while less than `reserve` bytes of the disk are free, because the
    /// database may need them.
    ///
    /// # Errors
    /// Any I/O error.
    pub async fn open(root: PathBuf, reserve: u64) -> Result<Self, MediaError> {
        let incoming = root.join("incoming");
        match fs::remove_dir_all(&incoming).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => fs::create_dir_all(&incoming).await?,
        }
        Ok(Self {
            inputs: InputFolder::new(&root),
            disk: Disk::new(&root, reserve),
            root,
            next: AtomicU64::new(0),
        })
    }

    fn folder(&self, id: PromptId) -> PathBuf {
        let id = id.to_string();
        self.root.join(&id[id.len() - 2..]).join(id)
    }

    /// Writes a source into a temporary file.
    async fn take_in(
        &self,
        name: &str,
        mut source: ByteSource<'_>,
        extent: SizeBounds,
    ) -> Result<IncomingFile, MediaError> {
        let SizeBounds { limit, expected } = extent;
        if expected > limit {
            return Err(MediaError::TooLarge { limit });
        }
        if !self.disk.has_room_for(expected) {
            return Err(MediaError::DiskFull { needed: expected });
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join("incoming").join(number.to_string());
        let unfinished = UnfinishedFile(Some(path.clone()));
        let mut file = File::create(path).await?;
        let (mut hash, mut bytes, mut head) = (Sha256::new(), 0u64, Vec::with_capacity(HEAD));
        let mut look_at = LOOK;
        while let Some(chunk) = source.next().await {
            let chunk = chunk.map_err(MediaError::Source)?;
            head.extend_from_slice(&chunk[..chunk.len().min(HEAD - head.len())]);
            hash.update(&chunk);
            bytes += chunk.len() as u64;
            if bytes > limit {
                return Err(MediaError::TooLarge { limit });
            }
            let full = |error: std::io::Error| match error.into() {
                MediaError::DiskFull { .. } => MediaError::DiskFull { needed: bytes },
                other => other,
            };
            file.write_all(&chunk).await.map_err(full)?;
            if bytes >= look_at {
                look_at = bytes + LOOK;
                file.flush().await.map_err(full)?;
                if !self.disk.has_room_for(0) {
                    return Err(MediaError::DiskFull { needed: bytes });
                }
            }
        }
        file.flush().await?;
        file.sync_all().await?;
        let sha256 =
            hash.finalize().iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"));
        let (content_type, extension) = (content_type(&head, name), extension(&head, name));
        Ok(IncomingFile { stored: StoredFile { bytes, sha256, content_type, extension }, file: unfinished })
    }
}

async fn read(path: &Path, range: Range<u64>) -> Result<Option<ByteSource<'static>>, MediaError> {
    let mut file = match File::open(path).await {
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

#[async_trait]
impl MediaStore for FsMediaStore {
    async fn put(
        &self,
        id: PromptId,
        name: &str,
        source: ByteSource<'_>,
        extent: SizeBounds,
    ) -> Result<StoredFile, MediaError> {
        let IncomingFile { stored, file: mut unfinished } = self.take_in(name, source, extent).await?;
        let folder = self.folder(id);
        let is_new = !fs::try_exists(&folder).await?;
        fs::create_dir_all(&folder).await?;
        fs::rename(unfinished.path(), folder.join(name)).await?;
        unfinished.0 = None;
        File::open(&folder).await?.sync_all().await?;
        if is_new {
            // A folder is durable once the entry in its parent is.
            for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.root)) {
                File::open(above).await?.sync_all().await?;
            }
        }
        Ok(stored)
    }

    async fn receive(
        &self,
        name: &str,
        source: ByteSource<'_>,
        limit: u64,
    ) -> Result<IncomingFile, MediaError> {
        self.take_in(name, source, SizeBounds::up_to(limit)).await
    }

    async fn keep_input(&self, incoming: IncomingFile, at: UnixMillis) -> Result<StoredFile, MediaError> {
        let IncomingFile { stored, mut file } = incoming;
        self.inputs.take(file.path(), &stored.sha256, at, |from, to| std::fs::rename(from, to)).await?;
        file.0 = None;
        Ok(stored)
    }

    async fn keep_output_as_input(
        &self,
        id: PromptId,
        name: &str,
        sha256: &str,
        at: UnixMillis,
    ) -> Result<bool, MediaError> {
        let path = self.folder(id).join(name);
        match self.inputs.take(path, sha256, at, inputs::link).await {
            Err(MediaError::Storage(error)) if error.kind() == ErrorKind::NotFound => Ok(false),
            kept => kept.map(|()| true),
        }
    }

    async fn renew_input(&self, sha256: &str, at: UnixMillis) -> Result<bool, MediaError> {
        self.inputs.renew(sha256, at)
    }

    async fn read_input(
        &self,
        sha256: &str,
        range: Range<u64>,
    ) -> Result<Option<ByteSource<'static>>, MediaError> {
        match self.inputs.path(sha256) {
            Some(path) => read(&path, range).await,
            None => Ok(None),
        }
    }

    async fn inputs_before(&self, cutoff: UnixMillis) -> Result<Vec<String>, MediaError> {
        self.inputs.before(cutoff).await
    }

    async fn remove_input(&self, sha256: &str, cutoff: UnixMillis) -> Result<bool, MediaError> {
        self.inputs.remove(sha256, cutoff)
    }

    async fn read(
        &self,
        id: PromptId,
        name: &str,
        range: Range<u64>,
    ) -> Result<Option<ByteSource<'static>>, MediaError> {
        read(&self.folder(id).join(name), range).await
    }

    fn has_room_for(&self, bytes: u64) -> bool {
        self.disk.has_room_for(bytes)
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

    fn source(chunks: &[&'static str]) -> ByteSource<'static> {
        stream::iter(chunks.to_vec()).map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).boxed()
    }

    async fn text(store: &FsMediaStore, id: PromptId, name: &str, range: Range<u64>) -> Option<String> {
        let bytes = store.read(id, name, range).await.unwrap()?;
        let chunks: Vec<Bytes> = bytes.map(Result::unwrap).collect().await;
        Some(String::from_utf8(chunks.concat()).unwrap())
    }

    const ANY_SIZE: SizeBounds = SizeBounds::up_to(u64::MAX);

    fn unfinished(root: &Path) -> usize {
        std::fs::read_dir(root.join("incoming")).unwrap().count()
    }

    #[tokio::test]
    async fn a_file_goes_in_and_comes_out_by_ranges() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into(), 0).await.unwrap();
        let stored = store.put(id(1), "a.txt", source(&["hello ", "world"]), ANY_SIZE).await.unwrap();
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
        let store = FsMediaStore::open(root.path().into(), 0).await.unwrap();
        store.put(id(1), "a.txt", source(&["whole"]), ANY_SIZE).await.unwrap();
        let broken = stream::iter([Ok(Bytes::from_static(b"ha")), Err("reset".into())]).boxed();
        assert!(matches!(store.put(id(1), "a.txt", broken, ANY_SIZE).await, Err(MediaError::Source(_))));
        assert_eq!(text(&store, id(1), "a.txt", 0..5).await.unwrap(), "whole");
        assert_eq!(unfinished(root.path()), 0);
    }

    #[tokio::test]
    async fn a_writer_that_is_given_up_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into(), 0).await.unwrap();
        {
            let endless = stream::iter([Ok(Bytes::from_static(b"ha"))]).chain(stream::pending()).boxed();
            let put = store.put(id(1), "a.txt", endless, ANY_SIZE);
            tokio::pin!(put);
            while unfinished(root.path()) == 0 {
                assert!(futures_util::poll!(&mut put).is_pending());
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(unfinished(root.path()), 0);
    }

    fn at(millis: i64) -> UnixMillis {
        UnixMillis::from_millis(millis)
    }

    async fn input(store: &FsMediaStore, text: &'static str, age: i64) -> StoredFile {
        let incoming = store.receive("x.txt", source(&[text]), 100).await.unwrap();
        store.keep_input(incoming, at(age)).await.unwrap()
    }

    async fn input_text(store: &FsMediaStore, sha256: &str) -> Option<String> {
        let bytes = store.read_input(sha256, 0..100).await.unwrap()?;
        let chunks: Vec<Bytes> = bytes.map(Result::unwrap).collect().await;
        Some(String::from_utf8(chunks.concat()).unwrap())
    }

    #[tokio::test]
    async fn an_input_is_kept_once_under_its_hash() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into(), 0).await.unwrap();
        let first = input(&store, "hello world", 1_000).await;
        assert_eq!(first, input(&store, "hello world", 2_000).await);
        assert_eq!((first.bytes, first.extension.as_str()), (11, "txt"));
        assert_eq!(input_text(&store, &first.sha256).await.unwrap(), "hello world");
        assert_eq!(store.inputs_before(at(9_000)).await.unwrap(), [first.sha256.as_str()]);
        assert_eq!(input_text(&store, &"0".repeat(64)).await, None);
        assert_eq!(input_text(&store, "../../etc/passwd").await, None);
        assert_eq!(unfinished(root.path()), 0);
    }

    #[tokio::test]
    async fn what_is_not_kept_or_too_large_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into(), 0).await.unwrap();
        drop(store.receive("x", source(&["abc"]), 3).await.unwrap());
        let refused = store.receive("x", source(&["ab", "cd"]), 3).await;
        assert!(matches!(refused, Err(MediaError::TooLarge { limit: 3 })));
        assert_eq!(unfinished(root.path()), 0);
        assert_eq!(store.inputs_before(at(i64::MAX / 2)).await.unwrap(), [] as [&str; 0]);
    }

    #[tokio::test]
    async fn with_less_than_its_reserve_free_nothing_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into(), u64::MAX).await.unwrap();
        let extent = SizeBounds { limit: 10, expected: 5 };
        let refused = store.put(id(1), "a.txt", source(&["whole"]), extent).await;
        assert!(matches!(refused, Err(MediaError::DiskFull { needed: 5 })), "{refused:?}");
        assert!(!store.has_room_for(0));
        assert_eq!(unfinished(root.path()), 0);
    }

    #[tokio::test]
    async fn only_an_input_that_grew_old_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into(), 0).await.unwrap();
        let kept = input(&store, "kept", 1_000).await.sha256;
        assert_eq!(store.inputs_before(at(1_000)).await.unwrap(), [] as [&str; 0]);
        assert!(!store.remove_input(&kept, at(1_000)).await.unwrap());
        assert!(store.renew_input(&kept, at(5_000)).await.unwrap());
        assert!(!store.remove_input(&kept, at(5_000)).await.unwrap());
        assert!(store.remove_input(&kept, at(5_001)).await.unwrap());
        assert!(!store.renew_input(&kept, at(6_000)).await.unwrap());
        assert!(!store.remove_input(&kept, at(9_000)).await.unwrap());
    }

    #[tokio::test]
    async fn a_jobs_file_becomes_an_input_that_outlives_the_job() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into(), 0).await.unwrap();
        let stored = store.put(id(1), "a.txt", source(&["made"]), ANY_SIZE).await.unwrap();
        for _ in 0..2 {
            assert!(store.keep_output_as_input(id(1), "a.txt", &stored.sha256, at(1)).await.unwrap());
        }
        assert!(!store.keep_output_as_input(id(1), "b.txt", &stored.sha256, at(1)).await.unwrap());
        store.remove(id(1)).await.unwrap();
        assert_eq!(input_text(&store, &stored.sha256).await.unwrap(), "made");
        assert_eq!(store.jobs().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_start_sweeps_what_was_left_and_removal_is_idempotent() {
        let root = tempfile::tempdir().unwrap();
        let store = FsMediaStore::open(root.path().into(), 0).await.unwrap();
        store.put(id(1), "a.txt", source(&["x"]), ANY_SIZE).await.unwrap();
        std::fs::write(root.path().join("incoming/7"), "half").unwrap();
        let store = FsMediaStore::open(root.path().into(), 0).await.unwrap();
        assert_eq!(unfinished(root.path()), 0);
        store.remove(id(1)).await.unwrap();
        store.remove(id(1)).await.unwrap();
        assert_eq!(store.jobs().await.unwrap(), []);
    }
}
