//! The JSON bodies of requests and responses about registered workflows.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::convert::WarningBody;
use super::problem::{self, Problem};
use super::validate::BackendFit;
use crate::service::WorkflowView;
use crate::store::WorkflowSummary;

/// A workflow to register.
#[derive(Debug, ToSchema, Deserialize)]
#[expect(dead_code, reason = "documents the body, which is read field by field")]
pub struct WorkflowRegistration {
    /// An API-format graph, or a workflow file as the ComfyUI editor saves it.
    #[schema(value_type = Object)]
    workflow: Value,
    /// A human-readable title.
    #[schema(max_length = 200)]
    title: Option<String>,
    /// A description of the workflow.
    #[schema(max_length = 10_000)]
    description: Option<String>,
}

/// A summary of a registered workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowItem {
    /// The workflow's name.
    name: String,
    /// The number of the version described here.
    version: u32,
    /// A human-readable title.
    title: Option<String>,
    /// A description of the workflow.
    description: Option<String>,
    /// Whether the workflow was loaded from the folder of workflow files.
    from_folder: bool,
    /// When this version was registered.
    #[schema(format = "date-time")]
    created_at: String,
}

/// The registered workflows.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowList {
    /// The newest version of every workflow, sorted by name.
    pub workflows: Vec<WorkflowItem>,
}

/// A version of a registered workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowVersion {
    /// The version's number. `name@version` runs it.
    version: u32,
    /// When the version was registered.
    #[schema(format = "date-time")]
    created_at: String,
}

/// An output of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowOutput {
    /// The output's key in the `*_by_var` fields of a result.
    var: String,
    /// The id of the output node.
    node_id: String,
    /// The class of that node.
    class_type: String,
}

/// A registered workflow in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowDetails {
    /// The summary's fields.
    #[serde(flatten)]
    item: WorkflowItem,
    /// All versions, oldest first.
    versions: Vec<WorkflowVersion>,
    /// The JSON Schema (draft 2020-12) of its parameters.
    #[schema(value_type = Object)]
    params: Value,
    /// The outputs of the workflow.
    outputs: Vec<WorkflowOutput>,
    /// For each backend, whether it can run the workflow.
    backends: Vec<BackendFit>,
    /// The API-format graph.
    #[schema(value_type = Object)]
    workflow: Box<RawValue>,
    /// Warnings about conversions that may differ from the author's intent. Only the response to a registration has any.
    warnings: Vec<WarningBody>,
}

impl From<WorkflowSummary> for WorkflowItem {
    fn from(workflow: WorkflowSummary) -> Self {
        Self {
            name: workflow.name.to_string(),
            version: workflow.version,
            title: workflow.title,
            description: workflow.description,
            from_folder: workflow.from_folder,
            created_at: workflow.created_at.to_string(),
        }
    }
}

impl WorkflowDetails {
    /// Builds the body from a view of the workflow.
    pub(super) fn new(view: WorkflowView, warnings: Vec<WarningBody>) -> Result<Self, Problem> {
        let WorkflowView { record, versions, params, outputs, fits } = view;
        let internal = |error: serde_json::Error| Problem::new(problem::INTERNAL, error.to_string());
        let workflow = RawValue::from_string(record.workflow.graph).map_err(internal)?;
        Ok(Self {
            item: WorkflowItem {
                name: record.workflow.name.to_string(),
                version: record.version,
                title: record.workflow.title,
                description: record.workflow.description,
                from_folder: record.workflow.from_folder,
                created_at: record.workflow.created_at.to_string(),
            },
            versions: versions
                .into_iter()
                .map(|(version, at)| WorkflowVersion { version, created_at: at.to_string() })
                .collect(),
            params,
            outputs: outputs
                .into_iter()
                .map(|output| WorkflowOutput {
                    var: output.var,
                    node_id: output.node_id,
                    class_type: output.class_type,
                })
                .collect(),
            backends: fits.iter().map(BackendFit::new).collect(),
            workflow,
            warnings,
        })
    }
}
