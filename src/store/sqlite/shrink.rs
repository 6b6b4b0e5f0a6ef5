//! Returns the pages of deleted rows to the disk, some at a time, so that other writes get their turn in between.

use std::path::Path;

use sqlx::SqliteConnection;

use crate::disk::Disk;

/// The number of pages returned at once: 2 MiB, which takes milliseconds.
const PART: i64 = 512;
/// The smallest number of free pages to keep for new rows: 1 MiB. An eighth of all pages is kept if that is more.
const KEPT: i64 = 256;
/// The largest content in bytes of a database of an earlier version that is rewritten on opening. This takes
/// about a second.
const LARGEST_REWRITE: i64 = 256 << 20;

/// The numbers of pages in the file.
struct FilePages {
    all: i64,
    free: i64,
}

async fn number(connection: &mut SqliteConnection, pragma: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(pragma).fetch_one(connection).await
}

async fn pages(connection: &mut SqliteConnection) -> Result<FilePages, sqlx::Error> {
    Ok(FilePages {
        all: number(connection, "PRAGMA page_count").await?,
        free: number(connection, "PRAGMA freelist_count").await?,
    })
}

/// Whether SQLite can return single pages of this file. Databases created by early versions of the gateway cannot.
async fn is_incremental(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    Ok(number(connection, "PRAGMA auto_vacuum").await? == 2)
}

/// Returns up to [`PART`] free pages to the disk; `true` means that more remain.
pub(super) async fn shrink(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if !is_incremental(connection).await? {
        return Ok(false);
    }
    let pages = pages(connection).await?;
    let surplus = pages.free - KEPT.max(pages.all / 8);
    if surplus <= 0 {
        return Ok(false);
    }
    sqlx::query("PRAGMA incremental_vacuum(512)").execute(&mut *connection).await?;
    if surplus > PART {
        return Ok(true);
    }
    // The file shrinks when the write-ahead log is moved into it. A passive checkpoint does not wait for readers.
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(connection).await?;
    Ok(false)
}

/// Rewrites a database of an earlier version so that it can shrink from now on. A large database, or one
/// whose disk has no room for the copies, stays as it is.
pub(super) async fn enable_shrinking(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), sqlx::Error> {
    if is_incremental(connection).await? {
        return Ok(());
    }
    let pages = pages(connection).await?;
    let content = (pages.all - pages.free) * number(connection, "PRAGMA page_size").await?;
    let disk = Disk::new(path.parent().unwrap_or(path), 0);
    let copies = u64::try_from(content).unwrap_or(0).saturating_mul(3);
    if content > LARGEST_REWRITE || !disk.has_room_for(copies) {
        tracing::info!(
            bytes = content,
            "the database file cannot shrink; to fix this, run `VACUUM` on it while the gateway is stopped"
        );
        return Ok(());
    }
    sqlx::query("PRAGMA auto_vacuum = INCREMENTAL").execute(&mut *connection).await?;
    sqlx::query("VACUUM").execute(connection).await?;
    Ok(())
}
