//! Registers, lists, describes and unregisters named workflows.

use serde_json::Value;

use super::fitness::{BackendFitness, check_links};
use super::state::Service;
use super::submit_error::SubmitError;
use crate::convert::{ConversionWarning, is_editor_format};
use crate::domain::object_info::NodeClasses;
use crate::domain::params::Params;
use crate::domain::registered::{WorkflowName, WorkflowRef};
use crate::domain::schema;
use crate::domain::time::UnixMillis;
use crate::domain::workflow::Workflow;
use crate::store::{NewWorkflow, RegistrationOutcome, StoreError, WorkflowRecord, WorkflowSummary};

/// A workflow to register.
#[derive(Debug)]
pub struct NewRegistration<'a> {
    /// The name to register it under.
    pub name: WorkflowName,
    /// A human-readable title.
    pub title: Option<String>,
    /// A description of the workflow.
    pub description: Option<String>,
    /// The API-format graph, or an editor file.
    pub text: &'a str,
    /// Whether it was loaded from the folder of workflow files.
    pub from_folder: bool,
}

/// An output of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedOutput {
    /// The `$output.NAME` of the node's title, or the node's id.
    pub var: String,
    /// The id of the output node.
    pub node_id: String,
    /// The class of that node.
    pub class_type: String,
}

/// A registered workflow in full.
#[derive(Debug)]
pub struct WorkflowView {
    /// The registered version.
    pub record: WorkflowRecord,
    /// All versions and their registration times, oldest first.
    pub versions: Vec<(u32, UnixMillis)>,
    /// The JSON Schema of the parameters, with the schema of media values at `#/$defs/media`.
    pub params: Value,
    /// The outputs of the workflow.
    pub outputs: Vec<NamedOutput>,
    /// Whether each backend can run it with its default parameters.
    pub fits: Vec<BackendFitness>,
}

impl Service {
    /// Registers a workflow as the next version, unless it is identical to the newest version.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was registered.
    pub async fn register(
        &self,
        new: NewRegistration<'_>,
    ) -> Result<(RegistrationOutcome, Vec<ConversionWarning>), SubmitError> {
        let newest = self.core.store.workflow(&WorkflowRef { name: new.name.clone(), version: None }).await?;
        if !new.from_folder && newest.is_some_and(|newest| self.is_from_folder(&newest)) {
            return Err(SubmitError::FromFolder(new.name));
        }
        let converted = if is_editor_format(new.text) { Some(self.convert(new.text).await?) } else { None };
        let (graph, source, warnings) = match converted {
            Some(converted) => (converted.graph, Some(new.text.to_owned()), converted.warnings),
            None => (new.text.to_owned(), None, Vec::new()),
        };
        let workflow = self.parse_workflow(&graph)?;
        self.declared_params(&workflow)?;
        check_links(&workflow, &self.known_fits(&workflow, &[], false))
            .map_err(SubmitError::InvalidWorkflow)?;
        let workflow = NewWorkflow {
            name: new.name,
            title: new.title,
            description: new.description,
            graph,
            source,
            from_folder: new.from_folder,
            created_at: self.core.clock.now(),
        };
        Ok((self.core.store.put_workflow(workflow).await?, warnings))
    }

    /// Whether a workflow can only be changed in the followed folder.
    const fn is_from_folder(&self, newest: &WorkflowRecord) -> bool {
        newest.workflow.from_folder && self.limits.follows_folder
    }

    /// Summaries of all registered workflows.
    ///
    /// # Errors
    /// The store failed.
    pub async fn workflows(&self) -> Result<Vec<WorkflowSummary>, StoreError> {
        self.core.store.workflows().await
    }

    /// A registered workflow in full.
    ///
    /// # Errors
    /// [`SubmitError::UnknownWorkflow`], or the store failed.
    pub async fn workflow(&self, which: &WorkflowRef) -> Result<WorkflowView, SubmitError> {
        let record = self.registered(which).await?;
        let versions = self.core.store.versions(&which.name).await?;
        let classes = self.core.pool.object_infos();
        let workflow = Workflow::parse(&record.workflow.graph).map_err(SubmitError::InvalidWorkflow)?;
        let declared = Params::declared_in(&workflow, &classes).map_err(SubmitError::InvalidWorkflow)?;
        let mut params = schema::of_params(&declared, &classes, "#/$defs/media");
        if declared.declared().values().any(|param| param.media) {
            params["$defs"] = serde_json::json!({ "media": schema::media_value() });
        }
        let outputs = outputs(&workflow, &classes);
        // Values that each caller supplies cannot be checked yet, so they are assumed valid.
        let given = declared.declared().values().filter(|param| param.required || param.media);
        let supplied: Vec<(&str, &str)> = given
            .flat_map(|param| &param.targets)
            .map(|target| (workflow.nodes()[target.node].id.as_str(), target.field.as_str()))
            .collect();
        let fits = self.known_fits(&workflow, &supplied, false);
        Ok(WorkflowView { record, versions, params, outputs, fits })
    }

    /// The JSON Schemas of the parameters of every workflow's newest version. `media` is the reference to the schema of media
    /// values.
    ///
    /// # Errors
    /// The store failed.
    pub async fn signatures(&self, media: &str) -> Result<Vec<(WorkflowSummary, Value)>, StoreError> {
        let classes = self.core.pool.object_infos();
        let mut all = Vec::new();
        for summary in self.core.store.workflows().await? {
            let which = WorkflowRef { name: summary.name.clone(), version: Some(summary.version) };
            let Some(record) = self.core.store.workflow(&which).await? else { continue };
            // Registered workflows are valid, so parsing does not fail here.
            let Ok(workflow) = Workflow::parse(&record.workflow.graph) else { continue };
            let Ok(declared) = Params::declared_in(&workflow, &classes) else { continue };
            all.push((summary, schema::of_params(&declared, &classes, media)));
        }
        Ok(all)
    }

    /// Unregisters a workflow with all its versions.
    ///
    /// # Errors
    /// [`SubmitError::UnknownWorkflow`], [`SubmitError::FromFolder`], or the store failed.
    pub async fn unregister(&self, name: &WorkflowName) -> Result<(), SubmitError> {
        let newest = self.registered(&WorkflowRef { name: name.clone(), version: None }).await?;
        if self.is_from_folder(&newest) {
            return Err(SubmitError::FromFolder(name.clone()));
        }
        self.core.store.delete_workflow(name).await?;
        Ok(())
    }
}

/// The outputs of a workflow: nodes with an `$output` name, and nodes of an output class.
fn outputs(workflow: &Workflow<'_>, classes: &dyn NodeClasses) -> Vec<NamedOutput> {
    let names = crate::domain::outputs::OutputNames::of(workflow);
    let nodes = workflow.nodes().iter().filter_map(|node| {
        let var = names.of_node(&node.id);
        let is_end = classes.class(&node.class_type).is_some_and(|class| class.output_node);
        (var != node.id || is_end).then(|| NamedOutput {
            var,
            node_id: node.id.clone(),
            class_type: node.class_type.clone(),
        })
    });
    nodes.collect()
}
