//! The gateway's disk at the end: its jobs, attempts and files, and the inconsistencies. The gateway must
//! have stopped.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use crate::figures::Span;

/// One job as the database has it.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: String,
    pub marker: String,
    pub state: String,
    /// The failure's code.
    pub code: Option<String>,
    /// Why it failed, as a sentence.
    pub msg: Option<String>,
    /// The expected failure code.
    pub fails: Option<String>,
    pub created: i64,
    pub finished: Option<i64>,
    /// The names of its files on their backend.
    pub files: Vec<String>,
    /// When it waited in the gateway.
    pub waited: Vec<Span>,
}

impl Job {
    pub fn is_over(&self) -> bool {
        ["completed", "failed", "cancelled"].contains(&&*self.state)
    }
}

/// Files and rows that do not belong together, by path or name.
#[derive(Debug, Default)]
pub struct Orphans {
    pub rows_without_file: Vec<String>,
    pub files_without_row: Vec<String>,
    pub folders_without_job: Vec<String>,
    pub temporary: Vec<String>,
}

impl Orphans {
    pub fn count(&self) -> usize {
        [&self.rows_without_file, &self.files_without_row, &self.folders_without_job, &self.temporary]
            .map(Vec::len)
            .iter()
            .sum()
    }
}

/// Everything on the disk.
#[derive(Debug, Default)]
pub struct Audit {
    pub jobs: Vec<Job>,
    pub orphans: Orphans,
}

impl Audit {
    pub async fn of(data: &Path) -> Self {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("gateway.db"));
        let mut db = options.connect().await.unwrap();
        let mut jobs = jobs(&mut db).await;
        waits(&mut db, &mut jobs).await;
        let orphans = files(&mut db, &mut jobs, &data.join("media")).await;
        db.close().await.unwrap();
        Self { jobs: jobs.into_values().collect(), orphans }
    }

    /// When the job of each marker was completed.
    pub fn completed(&self) -> HashMap<String, i64> {
        let completed = self.jobs.iter().filter(|job| job.state == "completed");
        completed.filter_map(|job| Some((job.marker.clone(), job.finished?))).collect()
    }
}

async fn jobs(db: &mut SqliteConnection) -> BTreeMap<i64, Job> {
    let query = "SELECT seq, prompt_id, state, failure, msg, created_at, finished_at, metadata
                 FROM jobs JOIN job_inputs USING (seq)";
    let rows = sqlx::query(query).fetch_all(db).await.unwrap();
    let json = |text: Option<String>| -> Value {
        text.map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default()
    };
    let job = |row: &sqlx::sqlite::SqliteRow| Job {
        id: row.get("prompt_id"),
        marker: json(row.get("metadata"))["marker"].as_str().unwrap_or_default().to_owned(),
        fails: json(row.get("metadata"))["fails"].as_str().map(str::to_owned),
        msg: row.get("msg"),
        state: row.get("state"),
        code: json(row.get("failure"))["code"].as_str().map(str::to_owned),
        created: row.get("created_at"),
        finished: row.get("finished_at"),
        files: Vec::new(),
        waited: Vec::new(),
    };
    rows.iter().map(|row| (row.get("seq"), job(row))).collect()
}

/// A job waits from its acceptance, or from the end of an attempt, until its next attempt or its own end.
async fn waits(db: &mut SqliteConnection, jobs: &mut BTreeMap<i64, Job>) {
    let query = "SELECT seq, started_at, ended_at FROM attempts ORDER BY seq, number";
    let mut since: HashMap<i64, Option<i64>> =
        jobs.iter().map(|(seq, job)| (*seq, Some(job.created))).collect();
    for row in sqlx::query(query).fetch_all(db).await.unwrap() {
        let (seq, started, ended): (i64, i64, Option<i64>) =
            (row.get("seq"), row.get("started_at"), row.get("ended_at"));
        if let (Some(job), Some(Some(from))) = (jobs.get_mut(&seq), since.insert(seq, ended)) {
            job.waited.push((from, started));
        }
    }
    for (seq, from) in since {
        if let (Some(job), Some(from)) = (jobs.get_mut(&seq), from) {
            job.waited.extend(job.finished.filter(|end| *end > from).map(|end| (from, end)));
        }
    }
}

async fn files(db: &mut SqliteConnection, jobs: &mut BTreeMap<i64, Job>, media: &Path) -> Orphans {
    let mut orphans = Orphans::default();
    let mut needed: HashSet<PathBuf> = HashSet::new();
    let query = "SELECT seq, filename, stored_as, bytes FROM media";
    for row in sqlx::query(query).fetch_all(db).await.unwrap() {
        let (seq, stored, bytes): (i64, String, i64) =
            (row.get("seq"), row.get("stored_as"), row.get("bytes"));
        let job = jobs.get_mut(&seq).unwrap();
        job.files.push(row.get("filename"));
        let path = media.join(&job.id[34..]).join(&job.id).join(stored);
        if std::fs::metadata(&path).ok().map(|meta| meta.len()) != u64::try_from(bytes).ok() {
            orphans.rows_without_file.push(path.display().to_string());
        }
        needed.insert(path);
    }
    let known: HashMap<&str, &str> = jobs.values().map(|job| (&*job.id, &*job.state)).collect();
    for shard in entries(media) {
        let name = shard.file_name().unwrap().to_string_lossy().into_owned();
        let inside = entries(&shard);
        match &*name {
            "incoming" => orphans.temporary.extend(inside.iter().map(|path| path.display().to_string())),
            "inputs" => {}
            _ => inside.iter().for_each(|folder| look(folder, &known, &needed, &mut orphans)),
        }
    }
    orphans
}

/// Checks the folder of one job.
fn look(folder: &Path, known: &HashMap<&str, &str>, needed: &HashSet<PathBuf>, orphans: &mut Orphans) {
    let id = folder.file_name().unwrap().to_string_lossy();
    let Some(state) = known.get(&*id) else {
        return orphans.folders_without_job.push(folder.display().to_string());
    };
    let left = entries(folder).into_iter().filter(|path| !needed.contains(path));
    orphans.files_without_row.extend(left.map(|path| format!("{} of a job that is {state}", path.display())));
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two jobs with every possible inconsistency of files, in a database and a folder made by hand.
    async fn data() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(data.path().join("gateway.db"))
            .create_if_missing(true);
        let mut db = options.connect().await.unwrap();
        sqlx::migrate!("migrations/sqlite").run(&mut db).await.unwrap();
        for (seq, id) in
            [(1, "0198c1c2-7a40-7c3e-b5d2-6f0f3f1f9f01"), (2, "0198c1c2-7a40-7c3e-b5d2-6f0f3f1f9f02")]
        {
            let job = "INSERT INTO jobs (seq, prompt_id, state, priority, created_at, run_timeout_ms, not_before, finished_at)
                       VALUES (?, ?, 'completed', 0, 100, 1, 0, 900)";
            sqlx::query(job).bind(seq).bind(id).execute(&mut db).await.unwrap();
            let inputs =
                "INSERT INTO job_inputs (seq, graph, metadata) VALUES (?, '{}', '{\"marker\":\"m\"}')";
            sqlx::query(inputs).bind(seq).execute(&mut db).await.unwrap();
            let media = "INSERT INTO media VALUES (?, 0, 'v', '1', 'image', 'a.png', 'm_1.png', 'image/png', 3, ?, 0)";
            sqlx::query(media).bind(seq).bind("0".repeat(64)).execute(&mut db).await.unwrap();
        }
        let attempts = "INSERT INTO attempts (seq, number, attempt_id, backend, started_at, ended_at, outcome)
                        VALUES (1, 1, 'a', 'b', 150, 300, 'requeued'), (1, 2, 'c', 'b', 450, 900, 'completed')";
        sqlx::query(attempts).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
        let write = |path: &str| {
            let path = data.path().join("media").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "abc").unwrap();
        };
        write("01/0198c1c2-7a40-7c3e-b5d2-6f0f3f1f9f01/a.png");
        write("01/0198c1c2-7a40-7c3e-b5d2-6f0f3f1f9f01/b.png");
        write("03/0198c1c2-7a40-7c3e-b5d2-6f0f3f1f9f03/a.png");
        write("incoming/1");
        data
    }

    #[tokio::test]
    async fn every_kind_of_orphan_is_found() {
        let data = data().await;
        let audit = Audit::of(data.path()).await;
        let orphans = &audit.orphans;
        assert_eq!(orphans.count(), 4, "{orphans:?}");
        assert!(orphans.rows_without_file[0].ends_with("9f02/a.png"));
        assert!(orphans.files_without_row[0].ends_with("9f01/b.png of a job that is completed"));
        assert!(orphans.folders_without_job[0].ends_with("9f03"));
        assert!(orphans.temporary[0].ends_with("incoming/1"));
        assert_eq!(audit.completed(), HashMap::from([("m".to_owned(), 900)]));
        assert_eq!(audit.jobs[0].waited, [(100, 150), (300, 450)]);
        assert_eq!(audit.jobs[1].waited, [(100, 900)], "no attempt: it waited to its end");
    }
}
