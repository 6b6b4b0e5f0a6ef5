//! The steps that submitting, validating and registering a workflow share: its graph is parsed, and its
//! parameters are read.

use super::state::Service;
use super::submit_error::SubmitError;
use crate::domain::params::Params;
use crate::domain::workflow::Workflow;

impl Service {
    /// Parses a graph within the configured limits.
    ///
    /// # Errors
    /// [`SubmitError::InvalidWorkflow`].
    pub(super) fn parse_workflow<'a>(&self, graph: &'a str) -> Result<Workflow<'a>, SubmitError> {
        Workflow::parse_within(graph, self.limits.workflow).map_err(SubmitError::InvalidWorkflow)
    }

    /// Reads the parameters that a workflow declares, with the node classes that the backends have now.
    ///
    /// # Errors
    /// [`SubmitError::InvalidWorkflow`] for faulty declarations.
    pub(super) fn declared_params<'w, 'a>(
        &self,
        workflow: &'w Workflow<'a>,
    ) -> Result<Params<'w, 'a>, SubmitError> {
        Params::declared_in(workflow, &self.core.pool.object_infos()).map_err(SubmitError::InvalidWorkflow)
    }
}
