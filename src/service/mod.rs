//! The use cases of the gateway, independent of HTTP: submit, validate, fetch, list, cancel and delete jobs,
//! and manage uploaded files, registered workflows and backends.

mod backends;
mod configured;
mod earlier;
mod files;
mod fitness;
mod folder;
mod gather;
mod jobs;
mod operation;
mod outlook;
mod prepare;
mod source;
mod state;
mod submission;
mod submit;
mod submit_error;
mod validate;
mod workflow_cache;
mod workflows;

pub use backends::{BackendError, find_unusable, restore_backends};
pub use files::KeepError;
pub use fitness::BackendFitness;
pub use folder::WorkflowFolder;
pub use jobs::{JobPage, ReadError};
pub use operation::NotReady;
pub use outlook::JobView;
pub use state::Service;
pub use submission::{
    JobOptions, JobRequirements, JobSubmission, RequestFile, SubmissionLimits, WorkflowSource,
};
pub use submit_error::{SubmitError, UnfitWorkflow};
pub use validate::ValidationReport;
pub use workflows::{NamedOutput, NewRegistration, WorkflowView};

pub use crate::domain::forecast::JobForecast;
