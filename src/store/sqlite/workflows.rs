//! [`WorkflowStore`] on SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::op::{Op, Reply, WriteError, unavailable};
use super::{SqliteStore, mismatch};
use crate::domain::registered::{WorkflowName, WorkflowRef};
use crate::domain::time::UnixMillis;
use crate::store::StoreError;
use crate::store::workflows::{
    NewWorkflow, RegistrationOutcome, WorkflowRecord, WorkflowStore, WorkflowSummary,
};

const NEWEST: &str = "SELECT * FROM workflows WHERE name = ?1 ORDER BY version DESC LIMIT 1";

pub(super) async fn put(
    connection: &mut SqliteConnection,
    workflow: &NewWorkflow,
) -> Result<Reply, WriteError> {
    let newest = sqlx::query(NEWEST)
        .bind(workflow.name.as_str().to_owned())
        .fetch_optional(&mut *connection)
        .await?
        .map(|row| record(&row))
        .transpose()?;
    if let Some(newest) = &newest
        && newest.workflow.is_same(workflow)
    {
        return Ok(Reply::Registered(RegistrationOutcome::Same(newest.version)));
    }
    let last = match newest {
        Some(newest) => newest.version,
        None => last_forgotten(connection, &workflow.name).await?,
    };
    let version = last + 1;
    sqlx::query(
        "INSERT INTO workflows (name, version, title, description, graph, source, from_folder, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(workflow.name.as_str().to_owned())
    .bind(version)
    .bind(workflow.title.clone())
    .bind(workflow.description.clone())
    .bind(workflow.graph.clone())
    .bind(workflow.source.clone())
    .bind(workflow.from_folder)
    .bind(workflow.created_at.as_millis())
    .execute(connection)
    .await?;
    Ok(Reply::Registered(RegistrationOutcome::New(version)))
}

pub(super) async fn delete(
    connection: &mut SqliteConnection,
    name: &WorkflowName,
) -> Result<Reply, WriteError> {
    let remembered = sqlx::query(
        "INSERT INTO forgotten_workflows (name, last_version)
         SELECT name, max(version) FROM workflows WHERE name = ?1 GROUP BY name
         ON CONFLICT DO UPDATE SET last_version = excluded.last_version",
    )
    .bind(name.as_str().to_owned())
    .execute(&mut *connection)
    .await?;
    if remembered.rows_affected() > 0 {
        sqlx::query("DELETE FROM workflows WHERE name = ?1")
            .bind(name.as_str().to_owned())
            .execute(connection)
            .await?;
    }
    Ok(Reply::Changed(remembered.rows_affected() > 0))
}

/// The last version of a workflow that was forgotten; 0 if none was.
async fn last_forgotten(connection: &mut SqliteConnection, name: &WorkflowName) -> Result<u32, sqlx::Error> {
    let last = sqlx::query_scalar("SELECT last_version FROM forgotten_workflows WHERE name = ?1")
        .bind(name.as_str().to_owned())
        .fetch_optional(connection)
        .await?;
    Ok(last.unwrap_or(0))
}

fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(|error| wrong(row, column, &error))
}

fn wrong(row: &SqliteRow, column: &'static str, reason: &dyn std::fmt::Display) -> StoreError {
    let row = row.try_get::<String, _>("name").unwrap_or_default();
    StoreError::Inconsistent { table: "workflows", column, row, reason: reason.to_string() }
}

fn name(row: &SqliteRow) -> Result<WorkflowName, StoreError> {
    WorkflowName::parse(get(row, "name")?).map_err(|error| wrong(row, "name", &error))
}

fn record(row: &SqliteRow) -> Result<WorkflowRecord, StoreError> {
    Ok(WorkflowRecord {
        version: get(row, "version")?,
        workflow: NewWorkflow {
            name: name(row)?,
            title: get(row, "title")?,
            description: get(row, "description")?,
            graph: get(row, "graph")?,
            source: get(row, "source")?,
            from_folder: get(row, "from_folder")?,
            created_at: UnixMillis::from_millis(get(row, "created_at")?),
        },
    })
}

fn summary(row: &SqliteRow) -> Result<WorkflowSummary, StoreError> {
    Ok(WorkflowSummary {
        name: name(row)?,
        version: get(row, "version")?,
        title: get(row, "title")?,
        description: get(row, "description")?,
        from_folder: get(row, "from_folder")?,
        created_at: UnixMillis::from_millis(get(row, "created_at")?),
    })
}

#[async_trait]
impl WorkflowStore for SqliteStore {
    async fn put_workflow(&self, workflow: NewWorkflow) -> Result<RegistrationOutcome, StoreError> {
        match self.write(Op::PutWorkflow(Box::new(workflow))).await? {
            Reply::Registered(registered) => Ok(registered),
            other => Err(mismatch(&other)),
        }
    }

    async fn workflow(&self, which: &WorkflowRef) -> Result<Option<WorkflowRecord>, StoreError> {
        let name = which.name.as_str().to_owned();
        let query = match which.version {
            None => sqlx::query(NEWEST).bind(name),
            Some(version) => sqlx::query("SELECT * FROM workflows WHERE name = ?1 AND version = ?2")
                .bind(name)
                .bind(version),
        };
        let row = query.fetch_optional(&self.readers).await.map_err(|error| unavailable(&error))?;
        row.as_ref().map(record).transpose()
    }

    async fn workflows(&self) -> Result<Vec<WorkflowSummary>, StoreError> {
        let found = sqlx::query(
            "SELECT name, version, title, description, from_folder, created_at FROM workflows AS newest
             WHERE version = (SELECT max(version) FROM workflows WHERE name = newest.name) ORDER BY name",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| unavailable(&error))?;
        found.iter().map(summary).collect()
    }

    async fn versions(&self, name: &WorkflowName) -> Result<Vec<(u32, UnixMillis)>, StoreError> {
        let found =
            sqlx::query("SELECT name, version, created_at FROM workflows WHERE name = ?1 ORDER BY version")
                .bind(name.as_str().to_owned())
                .fetch_all(&self.readers)
                .await
                .map_err(|error| unavailable(&error))?;
        found
            .iter()
            .map(|row| Ok((get(row, "version")?, UnixMillis::from_millis(get(row, "created_at")?))))
            .collect()
    }

    async fn delete_workflow(&self, name: &WorkflowName) -> Result<bool, StoreError> {
        self.write_changed(Op::DeleteWorkflow(name.clone())).await
    }
}
