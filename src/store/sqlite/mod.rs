//! The store on one SQLite file, in WAL mode with `synchronous=FULL`: one task writes, a pool of connections reads.
//!
//! No other process may use the file, because the writer keeps counters in memory. The caller holds the lock of the
//! data directory for that.
//!
//! | File | Holds |
//! |---|---|
//! | `database` | [`SqliteStore`], which sends writes to the writer task |
//! | `open` | permissions, schema version, migrations |
//! | `write` | the contract between a write and the writer task |
//! | `writer` | the writer task: group commit, retries, a full disk |
//! | `jobs` | `JobStore`, whose writes are in `insert`, `queue`, `attempts`, `outputs`, `cleanup`, `shapes` |
//! | `inputs`, `workflows`, `backends` | the other stores with their writes and reads |
//! | `reads` | reads of jobs |
//! | `rows` | typed result rows |
//! | `disk_room`, `shrink` | the reserve on the disk; returning free pages |
//!
//! # To add a write
//! 1. Define a struct with the arguments in the file of its subject, and implement `StoreWrite` for it. `Reply` is the
//!    type the caller receives.
//! 2. In `apply`, execute the statements on `transaction.connection`. Set `rev = transaction.rev` on every job that
//!    becomes claimable or queued; otherwise the dispatcher does not see it.
//! 3. Guard a change of a running job by its fence, and return `StoreError::LeaseLost` if no row matches.
//! 4. Return `true` from `needs_room` if the write adds data that can be refused while the disk is nearly full.
//! 5. In the store's method, call `self.write(YourWrite { … }).await`.
//!
//! # To add a read
//! Select named columns on `self.readers()`, the primary key among them, and decode them with a row type (see `rows`).

mod attempts;
mod backends;
mod cleanup;
mod database;
mod disk_room;
mod error;
mod inputs;
mod insert;
mod jobs;
mod open;
mod outputs;
mod queue;
mod reads;
mod rows;
mod shapes;
mod shrink;
mod workflows;
mod write;
mod writer;

pub use database::SqliteStore;
pub use writer::BatchObserver;
