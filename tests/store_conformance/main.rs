//! Conformance tests of the store: cases for every implementation, run on SQLite, and tests of the SQLite file.
//!
//! To test another implementation, pass `every_case!` an async function that returns a [`support::Fixture`] with an
//! empty store, and run [`model::store_agrees_with_the_state_machine`] on it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cases;
mod model;
mod sqlite;
mod support;

every_case!(crate::sqlite::fixture);

#[test]
fn the_store_agrees_with_the_state_machine() {
    model::store_agrees_with_the_state_machine(sqlite::fixture);
}
