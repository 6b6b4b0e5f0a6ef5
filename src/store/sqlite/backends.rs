//! [`BackendStore`] on SQLite.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::SqliteStore;
use super::op::{Op, Reply, WriteError, unavailable};
use crate::domain::id::BackendName;
use crate::domain::mode::Mode;
use crate::domain::time::UnixMillis;
use crate::store::{BackendStore, StoreError, StoredBackend};

pub(super) async fn add(
    connection: &mut SqliteConnection,
    backend: &StoredBackend,
) -> Result<Reply, WriteError> {
    let secret =
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
    .bind(json(&backend.labels)?)
    .bind(secret(&backend.bearer))
    .bind(secret(&backend.cookies))
    .bind(json(&headers)?)
    .bind(secret(&backend.api_key))
    .bind(backend.created_at.as_millis())
    .execute(connection)
    .await?;
    Ok(Reply::Changed(added.rows_affected() > 0))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unavailable(error.to_string()))
}

pub(super) async fn delete(
    connection: &mut SqliteConnection,
    name: &BackendName,
) -> Result<Reply, WriteError> {
    let deleted = sqlx::query("DELETE FROM backends WHERE name = ?1")
        .bind(name.as_str().to_owned())
        .execute(&mut *connection)
        .await?;
    if deleted.rows_affected() > 0 {
        set_mode(connection, name, Mode::Open).await?;
    }
    Ok(Reply::Changed(deleted.rows_affected() > 0))
}

pub(super) async fn set_mode(
    connection: &mut SqliteConnection,
    name: &BackendName,
    mode: Mode,
) -> Result<Reply, WriteError> {
    let name = name.as_str().to_owned();
    let query = match mode {
        Mode::Open => sqlx::query("DELETE FROM backend_modes WHERE name = ?1").bind(name),
        Mode::Cordoned | Mode::Draining => sqlx::query(
            "INSERT INTO backend_modes (name, mode) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET mode = excluded.mode",
        )
        .bind(name)
        .bind(mode.as_str()),
    };
    query.execute(connection).await?;
    Ok(Reply::Done)
}

fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(|_| damaged(row, column))
}

/// Says nothing of the value: it may be a secret.
fn damaged(row: &SqliteRow, column: &'static str) -> StoreError {
    let row = row.try_get::<String, _>("name").unwrap_or_default();
    StoreError::Inconsistent {
        table: "backends",
        column,
        row,
        reason: "it is not as it was written".to_owned(),
    }
}

fn name(row: &SqliteRow) -> Result<BackendName, StoreError> {
    BackendName::parse(get(row, "name")?).map_err(|_| damaged(row, "name"))
}

fn read<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(get(row, column)?).map_err(|_| damaged(row, column))
}

fn record(row: &SqliteRow) -> Result<StoredBackend, StoreError> {
    let secret = |column| Ok::<_, StoreError>(get::<Option<String>>(row, column)?.map(SecretString::from));
    let headers: Vec<(String, String)> = read(row, "headers")?;
    Ok(StoredBackend {
        name: name(row)?,
        url: get::<String>(row, "url")?.into(),
        slots: get(row, "slots")?,
        labels: read(row, "labels")?,
        bearer: secret("bearer")?,
        cookies: secret("cookies")?,
        headers: headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
        api_key: secret("api_key")?,
        created_at: UnixMillis::from_millis(get(row, "created_at")?),
    })
}

fn mode(row: &SqliteRow) -> Result<(BackendName, Mode), StoreError> {
    let mode = Mode::parse(get(row, "mode")?).ok_or_else(|| damaged(row, "mode"))?;
    Ok((name(row)?, mode))
}

#[async_trait]
impl BackendStore for SqliteStore {
    async fn add_backend(&self, backend: StoredBackend) -> Result<bool, StoreError> {
        self.write_changed(Op::AddBackend(Box::new(backend))).await
    }

    async fn added_backends(&self) -> Result<Vec<StoredBackend>, StoreError> {
        let query = sqlx::query("SELECT * FROM backends ORDER BY seq");
        let found = query.fetch_all(&self.readers).await.map_err(|error| unavailable(&error))?;
        found.iter().map(record).collect()
    }

    async fn delete_backend(&self, name: &BackendName) -> Result<bool, StoreError> {
        self.write_changed(Op::DeleteBackend(name.clone())).await
    }

    async fn set_backend_mode(&self, name: &BackendName, mode: Mode) -> Result<(), StoreError> {
        self.write(Op::SetBackendMode { name: name.clone(), mode }).await.map(|_| ())
    }

    async fn backend_modes(&self) -> Result<Vec<(BackendName, Mode)>, StoreError> {
        let query = sqlx::query("SELECT name, mode FROM backend_modes ORDER BY name");
        let found = query.fetch_all(&self.readers).await.map_err(|error| unavailable(&error))?;
        found.iter().map(mode).collect()
    }
}
