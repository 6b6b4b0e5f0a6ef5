//! What every `JobStore` must do, run for the one on SQLite, and what that one must do besides.
//!
//! Another implementation runs the same cases with `every_case!(make)`, `make` being an async function that gives a
//! [`support::Fixture`] with an empty store, and the same model with [`model::agrees_with_the_state_machine`].

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cases;
mod model;
mod sqlite;
mod support;

every_case!(crate::sqlite::fixture);

#[test]
fn the_store_agrees_with_the_state_machine() {
    model::agrees_with_the_state_machine(sqlite::fixture);
}
