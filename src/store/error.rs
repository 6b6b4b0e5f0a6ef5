//! [`StoreError`]. It names no database crate, so that callers do not depend on one.

/// Why a store operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another attempt or owner holds the job, so the caller's view of the job is stale.
    #[error("the lease on the job is lost")]
    LeaseLost,
    /// The disk of the database is full, or has less free space than the configured reserve.
    #[error("the disk of the database is full")]
    DiskFull,
    /// The database cannot be used now, for example after an I/O error or after closing. A retry may succeed.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A stored value violates an invariant.
    #[error("the database is inconsistent: {table}.{column} of row {row}: {reason}")]
    Inconsistent {
        /// The table that holds the value.
        table: &'static str,
        /// The column that holds the value.
        column: String,
        /// The row's primary key; the parts of a composite key are joined by `/`.
        row: String,
        /// The violated invariant.
        reason: String,
    },
    /// A newer version of the gateway wrote the database. The file is unchanged.
    #[error(
        "the database is from a newer version of comfy-gateway (schema {found}, this version knows up to {known}); it was not touched. Run that version, or use another data directory"
    )]
    NewerSchema {
        /// The schema version of the database.
        found: i64,
        /// The newest schema version this build supports.
        known: i64,
    },
    /// The database cannot be opened.
    #[error("the database {path} cannot be opened: {reason}")]
    Open {
        /// The path of the database file.
        path: String,
        /// The cause as reported by SQLite or the file system.
        reason: String,
    },
}
