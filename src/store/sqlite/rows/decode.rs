//! Decodes one result row and names the table, column and key of any value that breaks an invariant.

use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use crate::domain::time::UnixMillis;
use crate::store::error::StoreError;

/// A struct that holds the selected columns of one row, and how errors name that row.
pub(in crate::store::sqlite) trait TableRow {
    /// The table of every column that [`Self::JOINED`] does not list.
    const TABLE: &'static str;
    /// The columns of the primary key. Queries must select them.
    const KEY: &'static [&'static str];
    /// Columns that come from other tables, as pairs of column and table. Those tables share the key.
    const JOINED: &'static [(&'static str, &'static str)] = &[];
    /// Whether errors must not repeat stored values.
    const HOLDS_SECRETS: bool = false;
}

/// A column whose value breaks an invariant.
#[derive(Debug)]
pub(in crate::store::sqlite) struct ColumnError {
    column: String,
    reason: String,
}

impl ColumnError {
    pub(super) fn new(column: &str, reason: impl Display) -> Self {
        Self { column: column.to_owned(), reason: reason.to_string() }
    }

    /// Adds the table and the key of `row`.
    fn in_row<R: TableRow>(self, row: &SqliteRow) -> StoreError {
        let joined = R::JOINED.iter().find(|(column, _)| *column == self.column);
        let key: Vec<String> = R::KEY.iter().map(|column| key_value(row, column)).collect();
        let reason = if R::HOLDS_SECRETS {
            "the value is damaged; it may be a secret and is not shown".to_owned()
        } else {
            self.reason
        };
        StoreError::Inconsistent {
            table: joined.map_or(R::TABLE, |(_, table)| table),
            column: self.column,
            row: key.join("/"),
            reason,
        }
    }
}

impl From<sqlx::Error> for ColumnError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            // sqlx quotes the name.
            sqlx::Error::ColumnDecode { index, source } => Self::new(index.trim_matches('"'), source),
            sqlx::Error::ColumnNotFound(column) => Self::new(&column, "the query does not select it"),
            other => Self::new("?", other),
        }
    }
}

fn key_value(row: &SqliteRow, column: &str) -> String {
    let number = row.try_get::<i64, _>(column).map(|number| number.to_string());
    number.or_else(|_| row.try_get(column)).unwrap_or_else(|_| "?".to_owned())
}

/// Reads `row` as an `R` and converts it into a `T`.
pub(in crate::store::sqlite) fn decode<'r, R, T>(row: &'r SqliteRow) -> Result<T, StoreError>
where
    R: TableRow + FromRow<'r, SqliteRow>,
    T: TryFrom<R, Error = ColumnError>,
{
    let columns = R::from_row(row).map_err(ColumnError::from);
    columns.and_then(T::try_from).map_err(|error| error.in_row::<R>(row))
}

/// Decodes every row; the first damaged one is the error.
pub(in crate::store::sqlite) fn decode_all<'r, R, T>(rows: &'r [SqliteRow]) -> Result<Vec<T>, StoreError>
where
    R: TableRow + FromRow<'r, SqliteRow>,
    T: TryFrom<R, Error = ColumnError>,
{
    rows.iter().map(decode::<R, T>).collect()
}

/// Attributes an error to the column whose value caused it.
pub(super) trait InColumn<T> {
    fn in_column(self, column: &'static str) -> Result<T, ColumnError>;
}

impl<T, E: Display> InColumn<T> for Result<T, E> {
    fn in_column(self, column: &'static str) -> Result<T, ColumnError> {
        self.map_err(|error| ColumnError::new(column, error))
    }
}

/// The value of a column that may be `NULL` in other states of the row, but not in this one.
pub(super) fn required<T>(column: &'static str, value: Option<T>) -> Result<T, ColumnError> {
    value.ok_or_else(|| ColumnError::new(column, "missing in this state"))
}

pub(super) fn required_time(column: &'static str, millis: Option<i64>) -> Result<UnixMillis, ColumnError> {
    required(column, millis).map(UnixMillis::from_millis)
}

/// A value the gateway serialized with [`to_json`]; `NULL` is the default.
pub(super) fn from_json<T>(column: &'static str, text: Option<&str>) -> Result<T, ColumnError>
where
    T: DeserializeOwned + Default,
{
    text.map_or_else(|| Ok(T::default()), |text| serde_json::from_str(text).in_column(column))
}

/// JSON that passes through unchanged.
pub(super) fn raw_json(column: &'static str, text: String) -> Result<Box<RawValue>, ColumnError> {
    RawValue::from_string(text).in_column(column)
}

/// Serializes a value of the gateway's own types, whose serialization cannot fail.
pub(in crate::store::sqlite) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}
