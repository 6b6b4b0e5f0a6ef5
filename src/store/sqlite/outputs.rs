//! Stores the results of a job that has ended.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::rows::to_json;
use crate::domain::job::JobFinish;
use crate::domain::media::MediaFile;

/// The number of `media` rows in one statement. With 11 values a row this stays below SQLite's limit of 32,766
/// parameters; a job may produce thousands of files.
const MEDIA_ROWS: usize = 1_000;

pub(super) async fn insert_outputs(
    connection: &mut SqliteConnection,
    seq: i64,
    finish: &JobFinish,
) -> Result<(), sqlx::Error> {
    if finish.outputs.is_some() || !finish.texts.is_empty() || !finish.dropped_outputs.is_empty() {
        sqlx::query("INSERT INTO job_outputs (seq, outputs, texts, dropped_outputs) VALUES (?1, ?2, ?3, ?4)")
            .bind(seq)
            .bind(finish.outputs.as_ref().map(|json| json.get().to_owned()))
            .bind((!finish.texts.is_empty()).then(|| to_json(&finish.texts)))
            .bind((!finish.dropped_outputs.is_empty()).then(|| to_json(&finish.dropped_outputs)))
            .execute(&mut *connection)
            .await?;
    }
    let media = finish.media.iter().map(|file| (file, false));
    let outputs = finish.outputs_file.iter().map(|file| (file, true));
    let files: Vec<(i64, (&MediaFile, bool))> = (0..).zip(media.chain(outputs)).collect();
    for chunk in files.chunks(MEDIA_ROWS) {
        insert_media(connection, seq, chunk).await?;
    }
    Ok(())
}

/// Inserts files as pairs of the position and the file, which says whether it holds ComfyUI's outputs.
async fn insert_media(
    connection: &mut SqliteConnection,
    seq: i64,
    files: &[(i64, (&MediaFile, bool))],
) -> Result<(), sqlx::Error> {
    let mut rows = QueryBuilder::<Sqlite>::new(
        "INSERT INTO media (seq, position, var, node_id, kind, stored_as, filename, content_type, bytes, sha256,
             is_outputs) ",
    );
    rows.push_values(files, |mut row, (position, (file, is_outputs))| {
        row.push_bind(seq)
            .push_bind(*position)
            .push_bind(file.var.clone())
            .push_bind(file.node_id.clone())
            .push_bind(file.kind.as_str())
            .push_bind(file.stored_as.clone())
            .push_bind(file.filename.clone())
            .push_bind(file.content_type.clone())
            .push_bind(i64::try_from(file.bytes).unwrap_or(i64::MAX))
            .push_bind(file.sha256.clone())
            .push_bind(i64::from(*is_outputs));
    });
    rows.build().execute(connection).await?;
    Ok(())
}
