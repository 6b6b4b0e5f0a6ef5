//! [`WorkflowStore`] on SQLite.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::database::SqliteStore;
use super::rows::{SummaryRow, VersionRow, WorkflowRow, decode, decode_all};
use super::write::{StoreWrite, WriteError, WriteTransaction};
use crate::domain::registered::{WorkflowName, WorkflowRef};
use crate::domain::time::UnixMillis;
use crate::store::error::StoreError;
use crate::store::workflows::{
    NewWorkflow, RegistrationOutcome, WorkflowRecord, WorkflowStore, WorkflowSummary,
};

/// One version with its graph; conditions follow.
macro_rules! select_version {
    ($conditions:literal) => {
        concat!(
            "SELECT name, version, title, description, graph, source, from_folder, created_at FROM workflows ",
            $conditions
        )
    };
}

const NEWEST: &str = select_version!("WHERE name = ?1 ORDER BY version DESC LIMIT 1");
const VERSION: &str = select_version!("WHERE name = ?1 AND version = ?2");

struct PutWorkflow(NewWorkflow);

impl StoreWrite for PutWorkflow {
    type Reply = RegistrationOutcome;

    fn needs_room(&self) -> bool {
        true
    }

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<RegistrationOutcome, WriteError> {
        let workflow = &self.0;
        let newest = sqlx::query(NEWEST)
            .bind(workflow.name.as_str().to_owned())
            .fetch_optional(&mut *transaction.connection)
            .await?;
        let newest: Option<WorkflowRecord> = newest.as_ref().map(decode::<WorkflowRow, _>).transpose()?;
        if let Some(newest) = &newest
            && newest.workflow.is_same(workflow)
        {
            return Ok(RegistrationOutcome::Same(newest.version));
        }
        let last = match newest {
            Some(newest) => newest.version,
            None => last_deleted(transaction.connection, &workflow.name).await?,
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
        .execute(&mut *transaction.connection)
        .await?;
        Ok(RegistrationOutcome::New(version))
    }
}

/// The last version number of a deleted workflow; 0 if the name was never registered.
async fn last_deleted(connection: &mut SqliteConnection, name: &WorkflowName) -> Result<u32, sqlx::Error> {
    let last = sqlx::query_scalar("SELECT last_version FROM forgotten_workflows WHERE name = ?1")
        .bind(name.as_str().to_owned())
        .fetch_optional(connection)
        .await?;
    Ok(last.unwrap_or(0))
}

struct DeleteWorkflow(WorkflowName);

impl StoreWrite for DeleteWorkflow {
    type Reply = bool;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<bool, WriteError> {
        let remembered = sqlx::query(
            "INSERT INTO forgotten_workflows (name, last_version)
             SELECT name, max(version) FROM workflows WHERE name = ?1 GROUP BY name
             ON CONFLICT DO UPDATE SET last_version = excluded.last_version",
        )
        .bind(self.0.as_str().to_owned())
        .execute(&mut *transaction.connection)
        .await?;
        let existed = remembered.rows_affected() > 0;
        if existed {
            sqlx::query("DELETE FROM workflows WHERE name = ?1")
                .bind(self.0.as_str().to_owned())
                .execute(&mut *transaction.connection)
                .await?;
        }
        Ok(existed)
    }
}

#[async_trait]
impl WorkflowStore for SqliteStore {
    async fn put_workflow(&self, workflow: NewWorkflow) -> Result<RegistrationOutcome, StoreError> {
        self.write(PutWorkflow(workflow)).await
    }

    async fn workflow(&self, which: &WorkflowRef) -> Result<Option<WorkflowRecord>, StoreError> {
        let name = which.name.as_str().to_owned();
        let query = match which.version {
            None => sqlx::query(NEWEST).bind(name),
            Some(version) => sqlx::query(VERSION).bind(name).bind(version),
        };
        let row = query.fetch_optional(self.readers()).await?;
        row.as_ref().map(decode::<WorkflowRow, _>).transpose()
    }

    async fn workflows(&self) -> Result<Vec<WorkflowSummary>, StoreError> {
        let query =
            "SELECT name, version, title, description, from_folder, created_at FROM workflows AS newest
             WHERE version = (SELECT max(version) FROM workflows WHERE name = newest.name) ORDER BY name";
        decode_all::<SummaryRow, _>(&sqlx::query(query).fetch_all(self.readers()).await?)
    }

    async fn versions(&self, name: &WorkflowName) -> Result<Vec<(u32, UnixMillis)>, StoreError> {
        let query = "SELECT name, version, created_at FROM workflows WHERE name = ?1 ORDER BY version";
        let found = sqlx::query(query).bind(name.as_str().to_owned()).fetch_all(self.readers()).await?;
        decode_all::<VersionRow, _>(&found)
    }

    async fn delete_workflow(&self, name: &WorkflowName) -> Result<bool, StoreError> {
        self.write(DeleteWorkflow(name.clone())).await
    }
}
