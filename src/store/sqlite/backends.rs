//! [`BackendStore`] on SQLite.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sqlx::SqliteConnection;

use super::database::SqliteStore;
use super::rows::{BackendModeRow, BackendRow, decode_all, to_json};
use super::write::{StoreWrite, WriteError, WriteTransaction};
use crate::domain::id::BackendName;
use crate::domain::mode::BackendMode;
use crate::store::backends::{BackendStore, StoredBackend};
use crate::store::error::StoreError;

struct AddBackend(StoredBackend);

impl StoreWrite for AddBackend {
    type Reply = bool;

    fn needs_room(&self) -> bool {
        true
    }

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<bool, WriteError> {
        let backend = &self.0;
        let exposed =
            |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        let headers: Vec<(&str, &str)> =
            backend.headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        let added = sqlx::query(
            "INSERT INTO backends (name, url, slots, labels, bearer, cookies, headers, api_key, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (name) DO NOTHING",
        )
        .bind(backend.name.as_str().to_owned())
        .bind(backend.url.expose_secret().to_owned())
        .bind(backend.slots)
        .bind(to_json(&backend.labels))
        .bind(exposed(&backend.bearer))
        .bind(exposed(&backend.cookies))
        .bind(to_json(&headers))
        .bind(exposed(&backend.api_key))
        .bind(backend.created_at.as_millis())
        .execute(&mut *transaction.connection)
        .await?;
        Ok(added.rows_affected() > 0)
    }
}

struct DeleteBackend(BackendName);

impl StoreWrite for DeleteBackend {
    type Reply = bool;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<bool, WriteError> {
        let deleted = sqlx::query("DELETE FROM backends WHERE name = ?1")
            .bind(self.0.as_str().to_owned())
            .execute(&mut *transaction.connection)
            .await?;
        let was_added = deleted.rows_affected() > 0;
        if was_added {
            set_mode(transaction.connection, &self.0, BackendMode::Open).await?;
        }
        Ok(was_added)
    }
}

struct SetBackendMode {
    name: BackendName,
    mode: BackendMode,
}

impl StoreWrite for SetBackendMode {
    type Reply = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteError> {
        Ok(set_mode(transaction.connection, &self.name, self.mode).await?)
    }
}

/// Only modes other than open have a row.
async fn set_mode(
    connection: &mut SqliteConnection,
    name: &BackendName,
    mode: BackendMode,
) -> Result<(), sqlx::Error> {
    let name = name.as_str().to_owned();
    let query = match mode {
        BackendMode::Open => sqlx::query("DELETE FROM backend_modes WHERE name = ?1").bind(name),
        BackendMode::Cordoned | BackendMode::Draining => sqlx::query(
            "INSERT INTO backend_modes (name, mode) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET mode = excluded.mode",
        )
        .bind(name)
        .bind(mode.as_str()),
    };
    query.execute(connection).await?;
    Ok(())
}

#[async_trait]
impl BackendStore for SqliteStore {
    async fn add_backend(&self, backend: StoredBackend) -> Result<bool, StoreError> {
        self.write(AddBackend(backend)).await
    }

    async fn added_backends(&self) -> Result<Vec<StoredBackend>, StoreError> {
        let query = "SELECT name, url, slots, labels, bearer, cookies, headers, api_key, created_at
                     FROM backends ORDER BY seq";
        decode_all::<BackendRow, _>(&sqlx::query(query).fetch_all(self.readers()).await?)
    }

    async fn delete_backend(&self, name: &BackendName) -> Result<bool, StoreError> {
        self.write(DeleteBackend(name.clone())).await
    }

    async fn set_backend_mode(&self, name: &BackendName, mode: BackendMode) -> Result<(), StoreError> {
        self.write(SetBackendMode { name: name.clone(), mode }).await
    }

    async fn backend_modes(&self) -> Result<Vec<(BackendName, BackendMode)>, StoreError> {
        let query = "SELECT name, mode FROM backend_modes ORDER BY name";
        decode_all::<BackendModeRow, _>(&sqlx::query(query).fetch_all(self.readers()).await?)
    }
}
