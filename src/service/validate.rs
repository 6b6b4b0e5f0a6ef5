//! Validates a submission without accepting it: no job is queued, no input is fetched, and no file is stored.

use serde_json::{Value, json};

use super::fitness::{BackendFitness, explain_unfit, no_backend_can, node_errors};
use super::state::Service;
use super::submission::JobSubmission;
use super::submit_error::SubmitError;
use crate::domain::fault::{WorkflowFault, WorkflowFaults};
use crate::domain::validation::GraphFaults;

/// The result of validating a submission.
#[derive(Debug)]
pub struct ValidationReport {
    /// Whether the submission would be accepted.
    pub ok: bool,
    /// The faults of the submission, with JSON pointers from the request's root.
    pub faults: WorkflowFaults,
    /// The faults of the workflow on the best-matching backend, by node id. If `ok` is true, the nodes that
    /// would be left out.
    pub node_errors: Value,
    /// The result for each backend.
    pub fits: Vec<BackendFitness>,
}

impl Service {
    /// Validates a submission.
    ///
    /// # Errors
    /// Failures that prevent the validation: an unknown name, a URL that cannot be fetched, or the store. Faults of the
    /// workflow and of the parameters are part of the report.
    pub async fn validate(&self, submission: &JobSubmission<'_>) -> Result<ValidationReport, SubmitError> {
        match self.judge(submission).await {
            Err(SubmitError::InvalidWorkflow(faults)) => Ok(rejected("/workflow", faults)),
            Err(SubmitError::InvalidParams(faults)) => Ok(rejected("/params", faults)),
            judged => judged,
        }
    }

    async fn judge(&self, submission: &JobSubmission<'_>) -> Result<ValidationReport, SubmitError> {
        let resolved = self.resolve(submission.workflow.clone()).await?;
        let workflow = self.parse_workflow(&resolved.graph)?;
        let params = self.declared_params(&workflow)?;
        let plan = params.plan(&submission.params).map_err(SubmitError::InvalidParams)?;
        let fits = self.check_fitness(&plan, submission.options.partial).await?;
        if no_backend_can(&fits) {
            let unfit = explain_unfit(&fits, &plan);
            return Ok(ValidationReport {
                ok: false,
                faults: unfit.faults,
                node_errors: unfit.node_errors,
                fits,
            });
        }
        let partly = fits
            .iter()
            .filter_map(|fit| fit.faults.as_ref())
            .find(|faults| !faults.refuses(submission.options.partial));
        let node_errors = partly.map_or_else(|| json!({}), |faults: &GraphFaults| node_errors(faults));
        Ok(ValidationReport { ok: true, faults: WorkflowFaults::default(), node_errors, fits })
    }
}

fn rejected(below: &str, faults: WorkflowFaults) -> ValidationReport {
    let faults = faults.map(|fault| WorkflowFault { pointer: format!("{below}{}", fault.pointer), ..fault });
    ValidationReport { ok: false, faults, node_errors: json!({}), fits: Vec::new() }
}
