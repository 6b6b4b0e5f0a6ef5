//! The invariants of a data directory after every test.

use std::path::Path;

use sqlx::{ConnectOptions, Connection, Row};

/// Asserts the invariants once all jobs have ended.
pub async fn assert_invariants(data: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("gateway.db"));
    let mut db = options.connect().await.unwrap();
    let rows =
        sqlx::query("SELECT prompt_id, state, finished_at FROM jobs").fetch_all(&mut db).await.unwrap();
    let mut known = std::collections::HashSet::new();
    for row in rows {
        let (id, state): (String, String) = (row.get("prompt_id"), row.get("state"));
        assert!(["completed", "failed", "cancelled"].contains(&state.as_str()), "job {id} is left {state}");
        known.insert(id);
    }
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM attempts WHERE ended_at IS NULL")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(open, 0, "attempts without an end");
    let files = sqlx::query("SELECT prompt_id, stored_as, bytes FROM media JOIN jobs USING (seq)")
        .fetch_all(&mut db)
        .await
        .unwrap();
    for row in files {
        let (id, name, bytes): (String, String, i64) =
            (row.get("prompt_id"), row.get("stored_as"), row.get("bytes"));
        let path = data.join("media").join(&id[34..]).join(&id).join(&name);
        assert_eq!(
            std::fs::metadata(&path).map(|meta| meta.len()).ok(),
            u64::try_from(bytes).ok(),
            "{}",
            path.display()
        );
    }
    let needed: Vec<String> = sqlx::query_scalar(
        "SELECT sha256 FROM files UNION SELECT files FROM job_inputs WHERE files IS NOT NULL",
    )
    .fetch_all(&mut db)
    .await
    .unwrap();
    for shard in std::fs::read_dir(data.join("media/inputs")).into_iter().flatten().flatten() {
        for entry in std::fs::read_dir(shard.path()).unwrap().flatten() {
            let hash = entry.file_name().into_string().unwrap();
            assert!(needed.iter().any(|needed| needed.contains(&hash)), "the input {hash} belongs to nobody");
        }
    }
    let folders = std::fs::read_dir(data.join("media")).unwrap().flatten();
    for shard in folders.filter(|folder| folder.file_name() != "inputs") {
        for entry in std::fs::read_dir(shard.path()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            assert!(known.contains(&name), "media/{} belongs to no job", entry.path().display());
        }
    }
    db.close().await.unwrap();
}
