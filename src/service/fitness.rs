//! Which servers can run a workflow: said before it is queued, so that a caller hears at once what would fail later.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::Service;
use super::source::FRESH;
use super::submit::SubmitError;
use crate::domain::backend_paths::{BackendPath, backend_paths};
use crate::domain::binding::BindingPlan;
use crate::domain::fault::{WorkflowFault, WorkflowFaults, escaped};
use crate::domain::id::BackendName;
use crate::domain::text::brief;
use crate::domain::validation::{GraphFaults, NodeFault, NodeFaults};
use crate::domain::workflow::Workflow;

/// What is known of one server and a workflow.
#[derive(Debug)]
pub struct BackendFitness {
    /// The server.
    pub backend: BackendName,
    /// What it would say against the workflow; `None` while it has not told what it can run.
    pub faults: Option<GraphFaults>,
    /// Whether it is enough that one of the outputs can run.
    pub partial: bool,
}

impl BackendFitness {
    /// Whether it can run the workflow; `None` while that is not known.
    #[must_use]
    pub fn can_run(&self) -> Option<bool> {
        self.faults.as_ref().map(|faults| !faults.refuses(self.partial))
    }
}

/// A workflow that no server can run, and why.
#[derive(Debug, Default)]
pub struct UnfitWorkflow {
    /// The faults, with pointers from the request's root.
    pub faults: WorkflowFaults,
    /// The same by node.
    pub node_errors: Value,
}

impl Service {
    /// Holds a job against every server before any of its files is kept: those that will come are not looked at.
    ///
    /// # Errors
    /// [`SubmitError::InvalidWorkflow`] or [`SubmitError::InvalidParams`]: broken links, cycles, and paths on the server.
    /// What else keeps servers from running it stands in the answer.
    pub(super) async fn fits_of(
        &self,
        plan: &BindingPlan<'_, '_>,
        partial: bool,
    ) -> Result<Vec<BackendFitness>, SubmitError> {
        let bound = plan.bind(&plan.known_names(), &mut || 1);
        let workflow = Workflow::parse(&bound.graph).map_err(SubmitError::InvalidWorkflow)?;
        if !self.limits.allow_backend_paths {
            self.refuse_backend_paths(&workflow, plan)?;
        }
        let to_come: Vec<(&str, &str)> = plan.files_to_come().collect();
        let fits = self.fits(&workflow, &to_come, partial).await;
        links_hold(&workflow, &fits).map_err(SubmitError::InvalidWorkflow)?;
        Ok(fits)
    }

    /// Refuses names that would make a ComfyUI read files outside of its input folder.
    fn refuse_backend_paths(
        &self,
        workflow: &Workflow<'_>,
        plan: &BindingPlan<'_, '_>,
    ) -> Result<(), SubmitError> {
        let classes = self.parts.pool.object_infos();
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

    /// Holds a workflow against every server. When none could run it, they are first asked anew what they have.
    async fn fits(
        &self,
        workflow: &Workflow<'_>,
        supplied: &[(&str, &str)],
        partial: bool,
    ) -> Vec<BackendFitness> {
        let fits = self.known_fits(workflow, supplied, partial);
        if !nobody_can(&fits) {
            return fits;
        }
        self.parts.pool.refresh_object_infos(FRESH).await;
        self.known_fits(workflow, supplied, partial)
    }

    pub(super) fn known_fits(
        &self,
        workflow: &Workflow<'_>,
        supplied: &[(&str, &str)],
        partial: bool,
    ) -> Vec<BackendFitness> {
        let backends = self.parts.pool.backends();
        let mut fits: Vec<BackendFitness> = Vec::with_capacity(backends.len());
        for (at, backend) in backends.iter().enumerate() {
            // Most servers are alike: one that can run just what an earlier one can is not held against it again.
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

/// Whether it is known of every server that it cannot.
pub(super) fn nobody_can(fits: &[BackendFitness]) -> bool {
    !fits.is_empty() && fits.iter().all(|fit| fit.can_run() == Some(false))
}

/// Refuses broken links and cycles, unless a server is known to run the workflow in spite of them.
pub(super) fn links_hold(workflow: &Workflow<'_>, fits: &[BackendFitness]) -> Result<(), WorkflowFaults> {
    let faults = workflow.link_faults();
    let somebody_can = fits.iter().any(|fit| fit.can_run() == Some(true));
    if faults.is_empty() || somebody_can { Ok(()) } else { Err(faults) }
}

/// The servers that cannot.
pub(super) fn unable(fits: &[BackendFitness]) -> Vec<BackendName> {
    fits.iter().filter(|fit| fit.can_run() == Some(false)).map(|fit| fit.backend.clone()).collect()
}

/// Why nobody can: the words of the server that has the least against it.
pub(super) fn unfit(fits: &[BackendFitness], plan: &BindingPlan<'_, '_>) -> UnfitWorkflow {
    let best = fits
        .iter()
        .filter_map(|fit| Some((fit, fit.faults.as_ref()?)))
        .min_by_key(|(_, faults)| (faults.no_outputs, faults.count()));
    let Some((fit, faults)) = best else { return UnfitWorkflow::default() };
    // Of long lists of faults only the beginnings are known, which cannot be held against each other.
    let others = if faults.more == 0 { others(fits, fit) } else { Vec::new() };
    let mut told = WorkflowFaults::default();
    if faults.no_outputs {
        let message =
            "the workflow has no output: add a node that saves or shows something, such as SaveImage";
        told.push(WorkflowFault {
            pointer: "/workflow".to_owned(),
            message: message.to_owned(),
            node_id: None,
        });
    }
    for (node, fault) in
        faults.nodes.iter().flat_map(|node| node.faults.iter().map(move |fault| (node, fault)))
    {
        told.push(WorkflowFault {
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
    told.count_more(faults.more);
    UnfitWorkflow { faults: told, node_errors: node_errors(faults) }
}

/// Where the caller has to look: at a parameter of theirs, if it set the input, else at the input.
fn pointer(node: &NodeFaults, fault: &NodeFault, plan: &BindingPlan<'_, '_>) -> String {
    match &fault.input {
        None => format!("/workflow/{}", escaped(&node.node_id)),
        Some(input) => match plan.param_of(&node.node_id, input) {
            Some(param) => format!("/params/{}", escaped(param)),
            None => format!("/workflow/{}/inputs/{}", escaped(&node.node_id), escaped(input)),
        },
    }
}

/// A server and what it has against each node, by the node's id.
type ByNode<'f> = (&'f str, HashMap<&'f str, &'f NodeFaults>);

/// What the other servers say.
fn others<'f>(fits: &'f [BackendFitness], here: &BackendFitness) -> Vec<ByNode<'f>> {
    let others = fits.iter().filter(|fit| fit.backend != here.backend);
    let by_node = |fit: &'f BackendFitness| {
        let nodes = fit.faults.as_ref()?.nodes.iter().map(|node| (node.node_id.as_str(), node));
        Some((fit.backend.as_str(), nodes.collect()))
    };
    others.filter_map(by_node).collect()
}

/// Which other servers do not have the same fault.
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
        format!(" (on {}; {} would take this, but not the whole workflow)", here.backend, others.join(", "))
    }
}

/// Faults by node, with ComfyUI's own names for their kinds.
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
