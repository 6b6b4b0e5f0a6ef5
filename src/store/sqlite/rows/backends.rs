//! Rows of the tables `backends` and `backend_modes`.

use secrecy::SecretString;
use sqlx::FromRow;

use super::decode::{ColumnError, InColumn, TableRow};
use crate::domain::id::BackendName;
use crate::domain::mode::BackendMode;
use crate::domain::time::UnixMillis;
use crate::store::backends::StoredBackend;

#[derive(FromRow)]
pub(in crate::store::sqlite) struct BackendRow<'r> {
    name: &'r str,
    url: String,
    slots: u32,
    labels: &'r str,
    bearer: Option<String>,
    cookies: Option<String>,
    headers: &'r str,
    api_key: Option<String>,
    created_at: i64,
}

impl TableRow for BackendRow<'_> {
    const TABLE: &'static str = "backends";
    const KEY: &'static [&'static str] = &["name"];
    const HOLDS_SECRETS: bool = true;
}

impl TryFrom<BackendRow<'_>> for StoredBackend {
    type Error = ColumnError;

    fn try_from(row: BackendRow<'_>) -> Result<Self, ColumnError> {
        let headers: Vec<(String, String)> = serde_json::from_str(row.headers).in_column("headers")?;
        Ok(Self {
            name: BackendName::parse(row.name).in_column("name")?,
            url: row.url.into(),
            slots: row.slots,
            labels: serde_json::from_str(row.labels).in_column("labels")?,
            bearer: row.bearer.map(SecretString::from),
            cookies: row.cookies.map(SecretString::from),
            headers: headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
            api_key: row.api_key.map(SecretString::from),
            created_at: UnixMillis::from_millis(row.created_at),
        })
    }
}

#[derive(FromRow)]
pub(in crate::store::sqlite) struct BackendModeRow<'r> {
    name: &'r str,
    mode: &'r str,
}

impl TableRow for BackendModeRow<'_> {
    const TABLE: &'static str = "backend_modes";
    const KEY: &'static [&'static str] = &["name"];
}

impl TryFrom<BackendModeRow<'_>> for (BackendName, BackendMode) {
    type Error = ColumnError;

    fn try_from(row: BackendModeRow<'_>) -> Result<Self, ColumnError> {
        let mode = BackendMode::parse(row.mode);
        Ok((
            BackendName::parse(row.name).in_column("name")?,
            mode.ok_or_else(|| ColumnError::new("mode", format!("unknown: {:?}", row.mode)))?,
        ))
    }
}
