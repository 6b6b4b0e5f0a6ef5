//! What a submission would come to, without one: nothing is queued, fetched or kept.

use serde_json::{Value, json};

use super::Service;
use super::fitness::{BackendFitness, nobody_can, node_errors, unfit};
use super::submit::{JobSubmission, SubmitError};
use crate::domain::fault::{WorkflowFault, WorkflowFaults};
use crate::domain::params::Params;
use crate::domain::validation::GraphFaults;
use crate::domain::workflow::Workflow;

/// What a submission would come to.
#[derive(Debug)]
pub struct ValidationReport {
    /// Whether it would be accepted.
    pub ok: bool,
    /// Why not, with pointers from the request's root.
    pub faults: WorkflowFaults,
    /// What a server has against the workflow, by node: in the best case what it would leave out.
    pub node_errors: Value,
    /// What each server says.
    pub fits: Vec<BackendFitness>,
}

impl Service {
    /// Tells what a submission would come to.
    ///
    /// # Errors
    /// What keeps it from being judged: an unknown name, a URL that cannot be fetched, the store. Faults of the
    /// workflow and of the parameters are no errors here.
    pub async fn validate(&self, submission: &JobSubmission<'_>) -> Result<ValidationReport, SubmitError> {
        match self.judge(submission).await {
            Err(SubmitError::InvalidWorkflow(faults)) => Ok(bad("/workflow", faults)),
            Err(SubmitError::InvalidParams(faults)) => Ok(bad("/params", faults)),
            judged => judged,
        }
    }

    async fn judge(&self, submission: &JobSubmission<'_>) -> Result<ValidationReport, SubmitError> {
        let resolved = self.resolve(submission.workflow.clone()).await?;
        let workflow = Workflow::parse_within(&resolved.graph, self.limits.workflow)
            .map_err(SubmitError::InvalidWorkflow)?;
        let params = Params::declared_in(&workflow, &self.core.pool.object_infos())
            .map_err(SubmitError::InvalidWorkflow)?;
        let plan = params.plan(&submission.params).map_err(SubmitError::InvalidParams)?;
        let fits = self.fits_of(&plan, submission.options.partial).await?;
        if nobody_can(&fits) {
            let unfit = unfit(&fits, &plan);
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

fn bad(below: &str, faults: WorkflowFaults) -> ValidationReport {
    let faults = faults.map(|fault| WorkflowFault { pointer: format!("{below}{}", fault.pointer), ..fault });
    ValidationReport { ok: false, faults, node_errors: json!({}), fits: Vec::new() }
}
