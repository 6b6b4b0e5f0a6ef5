//! Durable state of the gateway: jobs, their attempts and results, uploaded files, workflows and added backends.
//!
//! | File | Holds |
//! |---|---|
//! | [`jobs`] | [`JobStore`]: every operation on jobs, and its guarantees |
//! | [`claims`] | the arguments and results of operations that move a job between states |
//! | [`records`] | jobs and attempts as clients read them |
//! | [`inputs`], [`workflows`], [`backends`] | the operations on those tables, with their records |
//! | [`error`] | [`StoreError`] |
//! | [`sqlite`] | the implementation of all four traits on one SQLite file |
//!
//! # To add an operation
//! Add a method to the trait it belongs to and state its guarantee there. [`sqlite`] explains how to implement a write
//! or a read. Then add a case to `tests/store_conformance`.

pub mod backends;
pub mod claims;
pub mod error;
pub mod inputs;
pub mod jobs;
pub mod records;
pub mod sqlite;
pub mod workflows;

pub use backends::{BackendStore, StoredBackend};
pub use claims::{
    AdoptScope, CancelOutcome, ClaimedJob, DeleteOutcome, JobClaim, QueuePlace, Requeue, WaitingJob,
};
pub use error::StoreError;
pub use inputs::{AwaitingJob, FileRecord, InputStore};
pub use jobs::JobStore;
pub use records::{AttemptRecord, JobLookup, JobRecord, PageCursor, QueueStats, RecordPage, ShapeRecord};
pub use workflows::{NewWorkflow, RegistrationOutcome, WorkflowRecord, WorkflowStore, WorkflowSummary};

/// The four stores of the gateway behind one pointer.
pub trait GatewayStore: JobStore + InputStore + WorkflowStore + BackendStore {}

impl<S: JobStore + InputStore + WorkflowStore + BackendStore> GatewayStore for S {}
