//! Translates errors of sqlx into [`StoreError`].

use crate::store::error::StoreError;

/// SQLite's result code for a write that found the disk full: <https://www.sqlite.org/rescode.html#full>.
const SQLITE_FULL: &str = "13";

pub(super) fn unavailable(error: &sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.is_some_and(|code| code == SQLITE_FULL) {
        return StoreError::DiskFull;
    }
    StoreError::Unavailable(error.to_string())
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        unavailable(&error)
    }
}
