//! The server's directories on disk: where a name leads, what the next name is, storing an upload. Its calls
//! block for the length of a small file access.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One of the three directories ComfyUI serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FolderKind {
    Output,
    Temp,
    Input,
}

impl FolderKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Temp => "temp",
            Self::Input => "input",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Output, Self::Temp, Self::Input].into_iter().find(|folder| folder.name() == name)
    }
}

/// A file that a node wrote, as `outputs` lists it.
#[derive(Debug, Clone)]
pub(super) struct SavedFile {
    pub(super) filename: String,
    pub(super) subfolder: String,
    pub(super) folder: FolderKind,
}

impl SavedFile {
    pub(super) fn to_json(&self) -> Value {
        json!({ "filename": self.filename, "subfolder": self.subfolder, "type": self.folder.name() })
    }
}

/// The place for the next files of one prefix.
#[derive(Debug)]
pub(super) struct NameSlot {
    directory: PathBuf,
    subfolder: String,
    stem: String,
    counter: u32,
    folder: FolderKind,
}

impl NameSlot {
    /// The next path, and how it is named in outputs. `%batch_num%` in the prefix becomes `batch`.
    pub(super) fn next(&mut self, batch: u32, extension: &str) -> (PathBuf, SavedFile) {
        let stem = self.stem.replace("%batch_num%", &batch.to_string());
        let filename = format!("{stem}_{:05}_.{extension}", self.counter);
        self.counter += 1;
        let saved =
            SavedFile { filename: filename.clone(), subfolder: self.subfolder.clone(), folder: self.folder };
        (self.directory.join(filename), saved)
    }
}

/// The directories, removed on drop when they were made for this simulator.
#[derive(Debug)]
pub(super) struct ServerFolders {
    root: PathBuf,
    owned: bool,
}

impl Drop for ServerFolders {
    fn drop(&mut self) {
        if self.owned
            && let Err(error) = fs::remove_dir_all(&self.root)
        {
            tracing::debug!(%error, root = %self.root.display(), "the simulator's files were left behind");
        }
    }
}

impl ServerFolders {
    /// Opens `given`, or a new directory of its own below the system's temporary one.
    pub(super) fn open(given: Option<&Path>) -> io::Result<Self> {
        let fresh = || std::env::temp_dir().join(format!("comfy-simulator-{}", uuid::Uuid::new_v4()));
        let files = Self { root: given.map_or_else(fresh, Path::to_path_buf), owned: given.is_none() };
        for folder in [FolderKind::Output, FolderKind::Temp, FolderKind::Input] {
            fs::create_dir_all(files.path(folder))?;
        }
        Ok(files)
    }

    pub(super) fn path(&self, folder: FolderKind) -> PathBuf {
        self.root.join(folder.name())
    }

    /// Removes the temporary files, as a restart does.
    pub(super) fn clear_temp(&self) -> io::Result<()> {
        fs::remove_dir_all(self.path(FolderKind::Temp))?;
        fs::create_dir_all(self.path(FolderKind::Temp))
    }

    /// The directory `subfolder` leads to, or nothing when it leads out of `folder`.
    pub(super) fn subfolder(&self, folder: FolderKind, subfolder: &str) -> Option<PathBuf> {
        let mut path = self.path(folder);
        for part in Path::new(subfolder).components() {
            match part {
                Component::Normal(name) => path.push(name),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
            }
        }
        Some(path)
    }

    /// The input file that a `LoadImage` names: `a.png`, `sub/a.png`, or `a.png [output]`.
    pub(super) fn annotated(&self, name: &str) -> Option<PathBuf> {
        let (name, folder) = name
            .strip_suffix(']')
            .and_then(|rest| rest.rsplit_once(" ["))
            .and_then(|(name, folder)| Some((name, FolderKind::parse(folder)?)))
            .unwrap_or((name, FolderKind::Input));
        self.subfolder(folder, name).filter(|path| !name.is_empty() && path != &self.path(folder))
    }

    /// Names of the files directly in the input directory, sorted.
    pub(super) fn inputs(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(FolderKind::Input))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// The place for the next files named by `prefix`, which may hold directories.
    /// `None` when it leads out of the directory.
    pub(super) fn slot(&self, folder: FolderKind, prefix: &str) -> io::Result<Option<NameSlot>> {
        let (subfolder, stem) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        let subfolder = subfolder.trim_matches('/');
        let Some(directory) = self.subfolder(folder, subfolder).filter(|_| stem != "..") else {
            return Ok(None);
        };
        fs::create_dir_all(&directory)?;
        let taken = fs::read_dir(&directory)?
            .flatten()
            .filter_map(|entry| counter(&entry.file_name(), stem))
            .max()
            .unwrap_or(0);
        Ok(Some(NameSlot {
            directory,
            subfolder: subfolder.to_owned(),
            stem: stem.to_owned(),
            counter: taken + 1,
            folder,
        }))
    }

    /// Stores an upload as ComfyUI does and tells the name it got: a taken name becomes `a (1).png`, unless the
    /// bytes are the same. `None` when `subfolder` leads out of `folder`.
    pub(super) fn store_upload(
        &self,
        folder: FolderKind,
        subfolder: &str,
        name: &str,
        bytes: &[u8],
        overwrite: bool,
    ) -> io::Result<Option<String>> {
        let Some(directory) = self.subfolder(folder, subfolder) else { return Ok(None) };
        fs::create_dir_all(&directory)?;
        // Many clients send the name percent-encoded, and ComfyUI keeps it so. A bare slash is not allowed.
        let name = name.replace(['/', '\\'], "%2F");
        let (stem, extension) = name.rsplit_once('.').map_or((name.as_str(), ""), |(stem, ext)| (stem, ext));
        let dot = if extension.is_empty() { "" } else { "." };
        let digest = Sha256::digest(bytes);
        let mut chosen = name.clone();
        for number in 1.. {
            let path = directory.join(&chosen);
            if overwrite || !path.exists() {
                fs::write(&path, bytes)?;
                break;
            }
            if Sha256::digest(fs::read(&path)?) == digest {
                break;
            }
            chosen = format!("{stem} ({number}){dot}{extension}");
        }
        Ok(Some(chosen))
    }
}

/// The number in `stem_00012_.png`. Any text may stand before a `%batch_num%` in the stem.
fn counter(file: &OsStr, stem: &str) -> Option<u32> {
    let (batch, last) = stem.rsplit_once("%batch_num%").map_or((false, stem), |(_, last)| (true, last));
    let (front, back) = file.to_str()?.split_once(&format!("{last}_"))?;
    if !batch && !front.is_empty() {
        return None;
    }
    back.split('_').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_up_per_prefix_and_subfolder() {
        let files = ServerFolders::open(None).unwrap();
        let mut slot = files.slot(FolderKind::Output, "a/b/cat").unwrap().unwrap();
        let (path, saved) = slot.next(0, "png");
        assert_eq!((saved.filename.as_str(), saved.subfolder.as_str()), ("cat_00001_.png", "a/b"));
        fs::write(path, b"x").unwrap();
        let (_, saved) = files.slot(FolderKind::Output, "a/b/cat").unwrap().unwrap().next(0, "png");
        assert_eq!(saved.filename, "cat_00002_.png");
        assert!(files.slot(FolderKind::Output, "../evil").unwrap().is_none());
    }

    #[test]
    fn a_directory_of_its_own_is_removed() {
        let files = ServerFolders::open(None).unwrap();
        let root = files.root.clone();
        assert!(root.exists());
        drop(files);
        assert!(!root.exists());
    }

    #[test]
    fn uploads_keep_apart_what_differs_and_join_what_is_the_same() {
        let files = ServerFolders::open(None).unwrap();
        let store = |bytes: &[u8], overwrite| {
            files.store_upload(FolderKind::Input, "", "a.png", bytes, overwrite).unwrap().unwrap()
        };
        assert_eq!(store(b"one", false), "a.png");
        assert_eq!(store(b"one", false), "a.png");
        assert_eq!(store(b"two", false), "a (1).png");
        assert_eq!(store(b"two", false), "a (1).png");
        assert_eq!(store(b"three", true), "a.png");
        assert_eq!(files.inputs(), ["a (1).png", "a.png"]);
        assert!(files.store_upload(FolderKind::Input, "../x", "a.png", b"", false).unwrap().is_none());
    }

    #[test]
    fn annotated_names_lead_to_their_directory_and_never_out() {
        let files = ServerFolders::open(None).unwrap();
        assert_eq!(files.annotated("x/a.png [output]"), Some(files.path(FolderKind::Output).join("x/a.png")));
        assert_eq!(files.annotated("a.png"), Some(files.path(FolderKind::Input).join("a.png")));
        assert_eq!(files.annotated("../a.png"), None);
    }
}
