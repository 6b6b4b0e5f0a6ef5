//! Registered workflows and their versions. It must not read any of them.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::registered::{WorkflowName, WorkflowRef};
use crate::domain::time::UnixMillis;

/// A workflow to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWorkflow {
    /// Its name.
    pub name: WorkflowName,
    /// A title for people.
    pub title: Option<String>,
    /// What it does, for people.
    pub description: Option<String>,
    /// The API-format graph, as exact text.
    pub graph: String,
    /// The editor's file that the graph was converted from, where it was.
    pub source: Option<String>,
    /// Whether it comes from the folder of workflow files.
    pub from_folder: bool,
    /// When it came.
    pub created_at: UnixMillis,
}

impl NewWorkflow {
    /// Whether both are one version: all is the same but when they came. What comes from the editor goes by its file,
    /// for a date in it makes another graph each time.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let graph = if self.source.is_some() { &other.graph } else { &self.graph };
        Self { graph: graph.clone(), created_at: other.created_at, ..self.clone() } == *other
    }
}

/// One version of a registered workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowRecord {
    /// Which version, from 1.
    pub version: u32,
    /// All that was registered.
    pub workflow: NewWorkflow,
}

/// What came of registering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationOutcome {
    /// A new version is on disk.
    New(u32),
    /// The newest version is the same already.
    Same(u32),
}

/// A registered workflow at a glance: its newest version without the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowSummary {
    /// Its name.
    pub name: WorkflowName,
    /// Its newest version.
    pub version: u32,
    /// That version's title.
    pub title: Option<String>,
    /// That version's description.
    pub description: Option<String>,
    /// Whether that version comes from the folder of workflow files.
    pub from_folder: bool,
    /// When that version came.
    pub created_at: UnixMillis,
}

/// Registered workflows, durable. Promises as those of [`super::JobStore`].
#[async_trait]
pub trait WorkflowStore: Send + Sync + std::fmt::Debug {
    /// Registers a workflow: as its next version, unless the newest one is the same but for the time.
    async fn put_workflow(&self, workflow: NewWorkflow) -> Result<RegistrationOutcome, StoreError>;

    /// One version of a workflow.
    async fn workflow(&self, which: &WorkflowRef) -> Result<Option<WorkflowRecord>, StoreError>;

    /// Every workflow at a glance, by name.
    async fn workflows(&self) -> Result<Vec<WorkflowSummary>, StoreError>;

    /// The versions of a workflow and when they came, the oldest first.
    async fn versions(&self, name: &WorkflowName) -> Result<Vec<(u32, UnixMillis)>, StoreError>;

    /// Forgets a workflow with all its versions; whether there was one. Jobs that run it go on. Registered again, it
    /// goes on counting: no version ever means another graph.
    async fn delete_workflow(&self, name: &WorkflowName) -> Result<bool, StoreError>;
}
