//! Checks which backends can run a workflow. The check comes before the job is queued, so that callers learn
//! at once about faults that would make the job fail later.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::state::{CAPABILITIES_FRESH, Service};
use super::submit_error::{SubmitError, UnfitWorkflow};
use crate::domain::backend_paths::{BackendPath, backend_paths};
use crate::domain::binding::BindingPlan;
use crate::domain::fault::{WorkflowFault, WorkflowFaults, escaped};
use crate::domain::id::BackendName;
use crate::domain::text::brief;
use crate::domain::validation::{GraphFaults, NodeFault, NodeFaults};
use crate::domain::workflow::Workflow;

/// Whether a backend can run a workflow, and the faults that keep it from running it.
#[derive(Debug)]
pub struct BackendFitness {
    /// The backend's name.
    pub backend: BackendName,
    /// The faults of the workflow on this backend; `None` while the backend's node classes are not known.
    pub faults: Option<GraphFaults>,
    /// Whether it is enough that at least one output can run.
    pub partial: bool,
}

impl BackendFitness {
    /// Whether the backend can run the workflow; `None` while the backend's node classes are not known.
    #[must_use]
    pub fn can_run(&self) -> Option<bool> {
        self.faults.as_ref().map(|faults| !faults.refuses(self.partial))
    }
}

impl Service {
    /// Checks a job against every backend before any of its files is stored. Inputs that are not here yet are assumed valid.
    ///
    /// # Errors
    /// [`SubmitError::InvalidWorkflow`] or [`SubmitError::InvalidParams`]: broken links, cycles, and forbidden backend paths.
    /// All other faults are part of the result.
    pub(super) async fn check_fitness(
        &self,
        plan: &BindingPlan<'_, '_>,
        partial: bool,
    ) -> Result<Vec<BackendFitness>, SubmitError> {
        let bound = plan.bind(&plan.known_names(), &mut || 1);
        let workflow = Workflow::parse(&bound.graph).map_err(SubmitError::InvalidWorkflow)?;
        if !self.limits.allow_backend_paths {
            self.reject_backend_paths(&workflow, plan)?;
        }
        let to_come: Vec<(&str, &str)> = plan.files_to_come().collect();
        let fits = self.refreshed_fits(&workflow, &to_come, partial).await;
        check_links(&workflow, &fits).map_err(SubmitError::InvalidWorkflow)?;
        Ok(fits)
    }

    /// Rejects names that would make a backend read files outside its input folder.
    fn reject_backend_paths(
        &self,
        workflow: &Workflow<'_>,
        plan: &BindingPlan<'_, '_>,
    ) -> Result<(), SubmitError> {
        let classes = self.core.pool.object_infos();
        let found = backend_paths(workflow, &classes, &plan.file_inputs());
        let more = found.more();
        let (mut params, mut literals) = (WorkflowFaults::default(), WorkflowFaults::default());
        for BackendPath { node_id, input, message } in found {
            if let Some(param) = plan.param_of(&node_id, &input) {
                params.push(WorkflowFault::of_param(param, format!("{:?} {message}", brief(param))));
            } else {
                let message = format!("the input {:?} {message}", brief(&input));
                literals.push(WorkflowFault::at_node(&node_id, &["inputs", &input], message));
            }
        }
        if !params.is_empty() {
            params.count_more(more);
            return Err(SubmitError::InvalidParams(params));
        }
        literals.count_more(more);
        if literals.is_empty() { Ok(()) } else { Err(SubmitError::InvalidWorkflow(literals)) }
    }

    /// Checks a workflow against every backend. If no backend can run it, the backends' node classes are
    /// fetched again before the second, final check.
    async fn refreshed_fits(
        &self,
        workflow: &Workflow<'_>,
        supplied: &[(&str, &str)],
        partial: bool,
    ) -> Vec<BackendFitness> {
        let fits = self.known_fits(workflow, supplied, partial);
        if !no_backend_can(&fits) {
            return fits;
        }
        self.core.pool.refresh_object_infos(CAPABILITIES_FRESH).await;
        self.known_fits(workflow, supplied, partial)
    }

    /// Checks a workflow against the node classes that are known of each backend.
    pub(super) fn known_fits(
        &self,
        workflow: &Workflow<'_>,
        supplied: &[(&str, &str)],
        partial: bool,
    ) -> Vec<BackendFitness> {
        let backends = self.core.pool.backends();
        let mut fits: Vec<BackendFitness> = Vec::with_capacity(backends.len());
        for (at, backend) in backends.iter().enumerate() {
            // Most backends have the same capabilities, so the result of an identical backend is reused.
            let alike = backends[..at]
                .iter()
                .position(|earlier| earlier.capabilities().can_run_the_same(backend.capabilities()));
            let faults = match alike {
                Some(earlier) => fits[earlier].faults.clone(),
                None => backend.capabilities().check(workflow, supplied),
            };
            fits.push(BackendFitness { backend: backend.name().clone(), faults, partial });
        }
        fits
    }
}

/// Whether every backend is known to be unable to run the workflow. False without any backend.
pub(super) fn no_backend_can(fits: &[BackendFitness]) -> bool {
    !fits.is_empty() && fits.iter().all(|fit| fit.can_run() == Some(false))
}

/// Rejects broken links and cycles, unless a backend is known to run the workflow in spite of them.
pub(super) fn check_links(workflow: &Workflow<'_>, fits: &[BackendFitness]) -> Result<(), WorkflowFaults> {
    let faults = workflow.link_faults();
    let is_any_able = fits.iter().any(|fit| fit.can_run() == Some(true));
    if faults.is_empty() || is_any_able { Ok(()) } else { Err(faults) }
}

/// The backends that are known to be unable to run the workflow.
pub(super) fn unable_backends(fits: &[BackendFitness]) -> Vec<BackendName> {
    fits.iter().filter(|fit| fit.can_run() == Some(false)).map(|fit| fit.backend.clone()).collect()
}

/// Explains why no backend can run the workflow, with the faults of the backend that has the fewest.
pub(super) fn explain_unfit(fits: &[BackendFitness], plan: &BindingPlan<'_, '_>) -> UnfitWorkflow {
    let best = fits
        .iter()
        .filter_map(|fit| Some((fit, fit.faults.as_ref()?)))
        .min_by_key(|(_, faults)| (faults.no_outputs, faults.count()));
    let Some((fit, faults)) = best else { return UnfitWorkflow::default() };
    // Capped lists of faults cannot be compared, because their ends are missing.
    let others = if faults.more == 0 { others(fits, fit) } else { Vec::new() };
    let mut listed = WorkflowFaults::default();
    if faults.no_outputs {
        let message =
            "the workflow has no output; add a node that saves or previews a result, such as SaveImage";
        listed.push(WorkflowFault {
            pointer: "/workflow".to_owned(),
            message: message.to_owned(),
            node_id: None,
        });
    }
    for (node, fault) in
        faults.nodes.iter().flat_map(|node| node.faults.iter().map(move |fault| (node, fault)))
    {
        listed.push(WorkflowFault {
            pointer: pointer(node, fault, plan),
            message: format!(
                "{} (node {}): {}{}",
                node.class_type,
                node.node_id,
                fault.message,
                elsewhere(&others, fit, node, fault)
            ),
            node_id: Some(node.node_id.clone()),
        });
    }
    listed.count_more(faults.more);
    UnfitWorkflow { faults: listed, node_errors: node_errors(faults) }
}

/// The JSON pointer to the place of a fault: the parameter that set the node input, or else the node input itself.
fn pointer(node: &NodeFaults, fault: &NodeFault, plan: &BindingPlan<'_, '_>) -> String {
    match &fault.input {
        None => format!("/workflow/{}", escaped(&node.node_id)),
        Some(input) => match plan.param_of(&node.node_id, input) {
            Some(param) => format!("/params/{}", escaped(param)),
            None => format!("/workflow/{}/inputs/{}", escaped(&node.node_id), escaped(input)),
        },
    }
}

/// A backend's name and its faults by node id.
type ByNode<'f> = (&'f str, HashMap<&'f str, &'f NodeFaults>);

/// The faults of the other backends.
fn others<'f>(fits: &'f [BackendFitness], here: &BackendFitness) -> Vec<ByNode<'f>> {
    let others = fits.iter().filter(|fit| fit.backend != here.backend);
    let by_node = |fit: &'f BackendFitness| {
        let nodes = fit.faults.as_ref()?.nodes.iter().map(|node| (node.node_id.as_str(), node));
        Some((fit.backend.as_str(), nodes.collect()))
    };
    others.filter_map(by_node).collect()
}

/// Names the backends that do not have the same fault, as a suffix for its message.
fn elsewhere(others: &[ByNode<'_>], here: &BackendFitness, node: &NodeFaults, fault: &NodeFault) -> String {
    let lacks_it = |nodes: &HashMap<&str, &NodeFaults>| {
        let same = |other: &NodeFault| other.kind == fault.kind && other.input == fault.input;
        nodes.get(node.node_id.as_str()).is_some_and(|node| node.faults.iter().any(same))
    };
    let others: Vec<&str> =
        others.iter().filter(|(_, nodes)| !lacks_it(nodes)).map(|(backend, _)| *backend).collect();
    if others.is_empty() {
        String::new()
    } else {
        format!(" (on {}; {} would accept this, but not the whole workflow)", here.backend, others.join(", "))
    }
}

/// Faults by node id, in the format of ComfyUI's `node_errors` and with its names for the types.
#[must_use]
pub fn node_errors(faults: &GraphFaults) -> Value {
    let nodes = faults.nodes.iter().map(|node| {
        let errors: Vec<Value> = node
            .faults
            .iter()
            .map(|fault| {
                json!({
                    "type": fault.kind.as_str(), "message": fault.message, "input": fault.input,
                    "received": fault.received, "nearest": fault.nearest,
                })
            })
            .collect();
        (node.node_id.clone(), json!({ "class_type": node.class_type, "errors": errors }))
    });
    Value::Object(nodes.collect::<Map<_, _>>())
}
