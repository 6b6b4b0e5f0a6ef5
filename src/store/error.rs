//! What can go wrong in a store, without naming any database crate.

/// Why a verb of the store did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another attempt or owner holds the job: whatever the caller knows of it is out of date.
    #[error("the lease on the job is lost")]
    LeaseLost,
    /// The disk of the database is full, or so nearly full that the database may not grow.
    #[error("the disk of the database is full")]
    DiskFull,
    /// The database cannot be used now (I/O error, closed); it may be later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A row breaks the rules of the schema.
    #[error("the database is inconsistent: {table}.{column} of row {row}: {reason}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// The database was made by a newer version of the gateway; it was left as it is.
    #[error(
        "the database is from a newer version of comfy-gateway (schema {found}, this version knows up to {known}); it was not touched. Run that version, or give another data directory"
    )]
    NewerSchema {
        /// The newest schema version found.
        found: i64,
        /// The newest one this version knows.
        known: i64,
    },
    /// The database could not be opened at all.
    #[error("the database {path} cannot be opened: {reason}")]
    Open {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
}
