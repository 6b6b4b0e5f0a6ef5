//! Converts the errors of the use cases to problems.

use std::time::Duration;

use super::problem::{
    BACKEND_BUSY, BACKEND_CONFIGURED, BACKEND_EXISTS, BODY_TOO_LARGE, DISK_FULL, FROM_FOLDER, GONE, INTERNAL,
    INVALID_PARAMS, INVALID_REQUEST, INVALID_WORKFLOW, MALFORMED_FORM, NOT_FOUND, Problem, ProblemKind,
    QUEUE_FULL, REQUEST_TIMEOUT, SERVERS_UNKNOWN, STORAGE_UNAVAILABLE, STORE_UNAVAILABLE, UNFINISHED,
    WORKFLOW_UNAVAILABLE, field_errors, in_a_sentence,
};
use super::server::TooSlow;
use crate::convert::ConvertFault;
use crate::domain::fault::{WorkflowFault, WorkflowFaults};
use crate::media::MediaError;
use crate::service::{BackendError, KeepError, ReadError, SubmitError};
use crate::store::StoreError;

fn several(kind: ProblemKind, below: &str, faults: WorkflowFaults) -> Problem {
    let errors = field_errors(below, faults);
    Problem::new(kind, in_a_sentence(&errors)).errors(errors)
}

impl Problem {
    /// The problem for a request whose path names the workflow: an unknown workflow is `not_found`.
    #[must_use]
    pub fn of_path(error: SubmitError) -> Self {
        match error {
            SubmitError::UnknownWorkflow(detail) => Self::new(NOT_FOUND, detail),
            other => other.into(),
        }
    }
}

impl From<TooSlow> for Problem {
    fn from(slow: TooSlow) -> Self {
        Self::new(REQUEST_TIMEOUT, slow.to_string())
    }
}

impl From<BackendError> for Problem {
    fn from(error: BackendError) -> Self {
        let kind = match error {
            BackendError::Unknown(_) => NOT_FOUND,
            BackendError::Exists(_) => BACKEND_EXISTS,
            BackendError::Unusable(_) => INVALID_REQUEST,
            BackendError::Busy { .. } => BACKEND_BUSY,
            BackendError::Configured(_) => BACKEND_CONFIGURED,
            BackendError::Store(error) => return error.into(),
        };
        Self::new(kind, error.to_string())
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::InvalidWorkflow(faults) => several(INVALID_WORKFLOW, "/workflow", faults),
            SubmitError::Unfit(unfit) => {
                several(INVALID_WORKFLOW, "", unfit.faults).node_errors(unfit.node_errors)
            }
            SubmitError::InvalidParams(faults) => several(INVALID_PARAMS, "/params", faults),
            SubmitError::UnknownWorkflow(message) => {
                several(INVALID_WORKFLOW, "/workflow", WorkflowFault::whole(message))
            }
            SubmitError::Unconvertible(faults) => {
                let fault = |fault: ConvertFault| WorkflowFault {
                    pointer: String::new(),
                    message: described(&fault),
                    node_id: fault.node_id,
                };
                several(INVALID_WORKFLOW, "/workflow", faults.into_iter().map(fault).collect())
            }
            SubmitError::ServersUnknown => Self::new(
                SERVERS_UNKNOWN,
                "converting an editor file needs the node classes of a backend, and none is known yet; try again when a backend is up, or send an API-format graph",
            )
            .retry_after(Duration::from_secs(5)),
            SubmitError::WorkflowUnavailable(why) => {
                Self::new(WORKFLOW_UNAVAILABLE, format!("the workflow could not be fetched from {why}"))
            }
            SubmitError::FromFolder(name) => Self::new(
                FROM_FOLDER,
                format!("the workflow {name} was loaded from the folder of workflow files; change or remove its file there"),
            ),
            SubmitError::QueueFull { limit } => {
                Self::new(QUEUE_FULL, format!("the queue is full with {limit} jobs; try again later"))
                    .limit(limit)
                    .retry_after(Duration::from_secs(5))
            }
            SubmitError::Media(error) => error.into(),
            SubmitError::Store(error) => error.into(),
        }
    }
}

/// Describes a conversion fault, with its node as the editor shows it.
fn described(fault: &ConvertFault) -> String {
    match (&fault.node_id, fault.title.as_ref().or(fault.class_type.as_ref())) {
        (Some(id), Some(title)) => format!("node {id} ({title}): {}", fault.message),
        (Some(id), None) => format!("node {id}: {}", fault.message),
        (None, _) => fault.message.clone(),
    }
}

impl From<MediaError> for Problem {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Source(why) => Self::new(MALFORMED_FORM, why.to_string()),
            MediaError::TooLarge { limit } => {
                Self::new(BODY_TOO_LARGE, format!("a file is larger than {limit} bytes (max_file)"))
                    .limit(limit)
            }
            MediaError::DiskFull { .. } => Self::disk_full("media files").internal(&error),
            MediaError::Storage(_) => Self::new(
                STORAGE_UNAVAILABLE,
                "the gateway cannot store files now; the request had no effect, try again later",
            )
            .retry_after(Duration::from_secs(10))
            .internal(&error),
        }
    }
}

impl Problem {
    /// The problem for a full disk; `what` names the data on that disk.
    pub(super) fn disk_full(what: &str) -> Self {
        let detail = format!(
            "the disk of the gateway's {what} is full, so the gateway accepts no new jobs and files; delete jobs, or ask the operator to free space"
        );
        Self::new(DISK_FULL, detail).retry_after(Duration::from_secs(10))
    }
}

impl From<KeepError> for Problem {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Media(error) => error.into(),
            KeepError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull => Self::disk_full("database").internal(&error),
            StoreError::Unavailable(_) => Self::new(
                STORE_UNAVAILABLE,
                "the gateway cannot reach its database now; the request had no effect, try again later",
            )
            .retry_after(Duration::from_secs(2))
            .internal(&error),
            _ => Self::new(
                INTERNAL,
                "the gateway failed unexpectedly; its log has the reason under this request id",
            )
            .internal(&error),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unknown => {
                Self::new(NOT_FOUND, "no job or file has this id or name; it may have been deleted")
            }
            ReadError::Gone => Self::new(GONE, "the job was deleted, or its retention ended"),
            ReadError::Unfinished => {
                Self::new(UNFINISHED, "the job has not ended yet; wait for it to end, or cancel it first")
                    .retry_after(Duration::from_secs(1))
            }
            ReadError::Store(error) => error.into(),
            ReadError::Media(error) => Self::new(
                INTERNAL,
                "the gateway cannot read the file; its log has the reason under this request id",
            )
            .internal(&error),
        }
    }
}
