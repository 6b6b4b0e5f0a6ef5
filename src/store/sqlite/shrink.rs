//! Giving the room of forgotten jobs back to the disk, a part at a time and while nothing else waits for the writer.

use std::path::Path;

use sqlx::SqliteConnection;

use crate::disk::Disk;

/// Pages given back at once: 2 MiB, a matter of milliseconds.
const PART: i64 = 512;
/// Free pages that are kept for the next jobs, besides an eighth of all: 1 MiB.
const KEPT: i64 = 256;
/// The most bytes of content for which a database of an earlier version is written anew at the start: about a second.
const LARGEST_REWRITE: i64 = 256 << 20;

/// Pages of the file.
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

/// Whether free pages can be given back one by one: databases made before this version cannot.
async fn is_incremental(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    Ok(number(connection, "PRAGMA auto_vacuum").await? == 2)
}

/// Gives a part of the free pages back; whether there is more to give.
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
    // The file itself shrinks when the log is taken into it. This never waits for readers.
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(connection).await?;
    Ok(false)
}

/// Lets a database of an earlier version shrink from now on, by writing it anew. One that is large, or whose disk has
/// no room for a copy, is left as it is.
pub(super) async fn adapt(connection: &mut SqliteConnection, path: &Path) -> Result<(), sqlx::Error> {
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
            "the database file does not shrink; `VACUUM` it while the gateway is stopped"
        );
        return Ok(());
    }
    sqlx::query("PRAGMA auto_vacuum = INCREMENTAL").execute(&mut *connection).await?;
    sqlx::query("VACUUM").execute(connection).await?;
    Ok(())
}
