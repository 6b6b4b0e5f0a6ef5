//! [`WorkflowStore`]: registered workflows and their versions, stored as opaque text.

use async_trait::async_trait;

use super::error::StoreError;
use crate::domain::registered::{WorkflowName, WorkflowRef};
use crate::domain::time::UnixMillis;

/// A workflow to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWorkflow {
    /// The name callers run it by.
    pub name: WorkflowName,
    /// A title for people.
    pub title: Option<String>,
    /// A description for people.
    pub description: Option<String>,
    /// The graph in ComfyUI's API format, byte for byte.
    pub graph: String,
    /// The editor's file the graph was converted from, if it was.
    pub source: Option<String>,
    /// Whether it was read from the folder of workflow files.
    pub from_folder: bool,
    /// When it was registered.
    pub created_at: UnixMillis,
}

impl NewWorkflow {
    /// Whether both would be the same version: all fields but `created_at` are equal. If `self` was converted
    /// from an editor's file, the graph is ignored, because a date in that file yields a different graph on
    /// each conversion.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let graph = if self.source.is_some() { &other.graph } else { &self.graph };
        Self { graph: graph.clone(), created_at: other.created_at, ..self.clone() } == *other
    }
}

/// One version of a registered workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowRecord {
    /// The version number, starting at 1.
    pub version: u32,
    /// The workflow as it was registered.
    pub workflow: NewWorkflow,
}

/// The result of registering a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationOutcome {
    /// It was stored as this new version.
    New(u32),
    /// It equals the newest version, which has this number; nothing changed.
    Same(u32),
}

/// The newest version of a registered workflow, without the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowSummary {
    /// The name callers run it by.
    pub name: WorkflowName,
    /// The newest version number.
    pub version: u32,
    /// That version's title.
    pub title: Option<String>,
    /// That version's description.
    pub description: Option<String>,
    /// Whether that version was read from the folder of workflow files.
    pub from_folder: bool,
    /// When that version was registered.
    pub created_at: UnixMillis,
}

/// Registered workflows, durable. The guarantees of [`JobStore`](super::JobStore) apply.
#[async_trait]
pub trait WorkflowStore: Send + Sync + std::fmt::Debug {
    /// Registers a workflow as its next version, unless it [is the same](NewWorkflow::is_same) as the newest one.
    async fn put_workflow(&self, workflow: NewWorkflow) -> Result<RegistrationOutcome, StoreError>;

    /// The referenced version of a workflow, or the newest if the reference has no version.
    async fn workflow(&self, which: &WorkflowRef) -> Result<Option<WorkflowRecord>, StoreError>;

    /// A summary of every workflow, ordered by name.
    async fn workflows(&self) -> Result<Vec<WorkflowSummary>, StoreError>;

    /// The versions of a workflow and when each was registered, oldest first.
    async fn versions(&self, name: &WorkflowName) -> Result<Vec<(u32, UnixMillis)>, StoreError>;

    /// Deletes all versions of a workflow; `false` if there are none. Jobs that use it are not affected. A later
    /// registration continues the numbering, so that a version number never denotes two graphs.
    async fn delete_workflow(&self, name: &WorkflowName) -> Result<bool, StoreError>;
}
