//! Registered workflows: named once, run by name from then on.

use serde_json::Value;

use super::Service;
use super::fitness::{BackendFitness, links_hold};
use super::submit::SubmitError;
use crate::convert::{ConversionWarning, is_editor_format};
use crate::domain::object_info::NodeClasses;
use crate::domain::params::Params;
use crate::domain::registered::{WorkflowName, WorkflowRef};
use crate::domain::schema;
use crate::domain::time::UnixMillis;
use crate::domain::workflow::Workflow;
use crate::store::{NewWorkflow, RegistrationOutcome, StoreError, WorkflowRecord, WorkflowSummary};

/// A workflow as a caller registers it.
#[derive(Debug)]
pub struct NewRegistration<'a> {
    /// Its name.
    pub name: WorkflowName,
    /// A title for people.
    pub title: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// The graph, or the editor's file.
    pub text: &'a str,
    /// Whether it comes from the folder of workflow files.
    pub from_folder: bool,
}

/// What a workflow gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedOutput {
    /// The `$output.NAME`, or the node's id.
    pub var: String,
    /// The node.
    pub node_id: String,
    /// Its class.
    pub class_type: String,
}

/// A registered workflow with all that is known of it.
#[derive(Debug)]
pub struct WorkflowView {
    /// What was registered.
    pub record: WorkflowRecord,
    /// Its versions and when they came, the oldest first.
    pub versions: Vec<(u32, UnixMillis)>,
    /// The JSON Schema of its parameters, with the media's at `#/$defs/media`.
    pub params: Value,
    /// What it gives.
    pub outputs: Vec<NamedOutput>,
    /// What each server says to it with its own defaults.
    pub fits: Vec<BackendFitness>,
}

impl Service {
    /// Registers a workflow: as the next version, unless the newest is the same.
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
        let workflow =
            Workflow::parse_within(&graph, self.limits.workflow).map_err(SubmitError::InvalidWorkflow)?;
        Params::declared_in(&workflow, &self.core.pool.object_infos())
            .map_err(SubmitError::InvalidWorkflow)?;
        links_hold(&workflow, &self.known_fits(&workflow, &[], false))
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

    /// Whether a workflow is changed in the folder, and nowhere else.
    const fn is_from_folder(&self, newest: &WorkflowRecord) -> bool {
        newest.workflow.from_folder && self.limits.follows_folder
    }

    /// Every registered workflow at a glance.
    ///
    /// # Errors
    /// The store failed.
    pub async fn workflows(&self) -> Result<Vec<WorkflowSummary>, StoreError> {
        self.core.store.workflows().await
    }

    /// One registered workflow.
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
        // What a caller must give is not held against a server.
        let given = declared.declared().values().filter(|param| param.required || param.media);
        let supplied: Vec<(&str, &str)> = given
            .flat_map(|param| &param.targets)
            .map(|target| (workflow.nodes()[target.node].id.as_str(), target.field.as_str()))
            .collect();
        let fits = self.known_fits(&workflow, &supplied, false);
        Ok(WorkflowView { record, versions, params, outputs, fits })
    }

    /// The parameters of every registered workflow's newest version as JSON Schemas, the media's being at `media`.
    ///
    /// # Errors
    /// The store failed.
    pub async fn signatures(&self, media: &str) -> Result<Vec<(WorkflowSummary, Value)>, StoreError> {
        let classes = self.core.pool.object_infos();
        let mut all = Vec::new();
        for summary in self.core.store.workflows().await? {
            let which = WorkflowRef { name: summary.name.clone(), version: Some(summary.version) };
            let Some(record) = self.core.store.workflow(&which).await? else { continue };
            // Only what was valid is registered.
            let Ok(workflow) = Workflow::parse(&record.workflow.graph) else { continue };
            let Ok(declared) = Params::declared_in(&workflow, &classes) else { continue };
            all.push((summary, schema::of_params(&declared, &classes, media)));
        }
        Ok(all)
    }

    /// Forgets a workflow with all its versions.
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

/// The nodes that are named as outputs or whose class is an end of a graph.
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
