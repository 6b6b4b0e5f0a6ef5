//! Whether a server can run a workflow, as far as it has told. It must not decide what follows from it.

use std::sync::Arc;

use crate::domain::validation::{GraphFaults, SuppliedInputs, check};
use crate::domain::workflow::Workflow;
use crate::pool::backend::Backend;

impl Backend {
    /// What the server would say against a workflow; `None` while it is not known what it can run. The inputs of
    /// `supplied`, as node id and name, will have good values when it gets the workflow.
    #[must_use]
    pub fn check(&self, workflow: &Workflow<'_>, supplied: &[(&str, &str)]) -> Option<GraphFaults> {
        let known = self.capabilities()?;
        let replaced: Vec<&str> = known.replaced.iter().map(String::as_str).collect();
        let given = SuppliedInputs { supplied, replaced: &replaced, expands: self.expands_dynamic_inputs() };
        Some(check(workflow, &known.info, given))
    }

    /// Whether both have told the same of what they can run.
    #[must_use]
    pub fn can_run_the_same(&self, other: &Self) -> bool {
        let (Some(this), Some(that)) = (self.capabilities(), other.capabilities()) else { return false };
        Arc::ptr_eq(&this.info, &that.info)
            && this.replaced == that.replaced
            && self.expands_dynamic_inputs() == other.expands_dynamic_inputs()
    }

    /// Versions before 0.4 do not look into dynamic inputs; of a server whose version is not known it is not said.
    fn expands_dynamic_inputs(&self) -> bool {
        self.version().is_some_and(|version| !version.trim_start_matches('v').starts_with("0.3."))
    }
}
