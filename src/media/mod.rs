//! The files of jobs, inputs and outputs: the [`MediaStore`] trait and its implementation on a file system.
//!
//! Callers pass names that are safe in a path already (`domain::media`).

pub mod content_type;
pub mod fs;
mod inputs;
mod store;
mod unfinished;

pub use fs::FsMediaStore;
pub use store::{ByteSource, IncomingFile, MediaError, MediaStore, SizeBounds, SourceError, StoredFile};
