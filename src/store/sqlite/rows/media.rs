//! Rows of the table `media`.

use sqlx::FromRow;

use super::decode::{ColumnError, InColumn, TableRow};
use crate::domain::media::{MediaFile, MediaKind};

#[derive(FromRow)]
pub(in crate::store::sqlite) struct MediaRow<'r> {
    var: String,
    node_id: String,
    kind: &'r str,
    stored_as: String,
    filename: String,
    content_type: String,
    bytes: i64,
    sha256: String,
    is_outputs: bool,
}

impl TableRow for MediaRow<'_> {
    const TABLE: &'static str = "media";
    const KEY: &'static [&'static str] = &["seq", "position"];
}

/// A file of a job, by its role in the result.
pub(in crate::store::sqlite) enum JobFile {
    /// A file the run produced.
    Media(MediaFile),
    /// The file that holds ComfyUI's outputs.
    Outputs(MediaFile),
}

impl TryFrom<MediaRow<'_>> for JobFile {
    type Error = ColumnError;

    fn try_from(row: MediaRow<'_>) -> Result<Self, ColumnError> {
        let role = if row.is_outputs { Self::Outputs } else { Self::Media };
        MediaFile::try_from(row).map(role)
    }
}

impl TryFrom<MediaRow<'_>> for MediaFile {
    type Error = ColumnError;

    fn try_from(row: MediaRow<'_>) -> Result<Self, ColumnError> {
        let kind = MediaKind::parse(row.kind);
        Ok(Self {
            var: row.var,
            node_id: row.node_id,
            kind: kind.ok_or_else(|| ColumnError::new("kind", format!("unknown: {:?}", row.kind)))?,
            stored_as: row.stored_as,
            filename: row.filename,
            content_type: row.content_type,
            bytes: u64::try_from(row.bytes).in_column("bytes")?,
            sha256: row.sha256,
        })
    }
}
