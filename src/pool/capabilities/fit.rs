//! Checks whether a backend can run a workflow, from the node classes that it has reported.

use std::sync::Arc;

use super::object_info::BackendCapabilities;
use crate::domain::validation::{GraphFaults, SuppliedInputs, check};
use crate::domain::workflow::Workflow;

impl BackendCapabilities {
    /// The faults that ComfyUI would find in `workflow`; `None` while its node classes are unknown.
    ///
    /// `supplied` names node inputs by node id and input name. They are assumed valid, because the gateway
    /// sets them before it submits the workflow.
    #[must_use]
    pub fn check(&self, workflow: &Workflow<'_>, supplied: &[(&str, &str)]) -> Option<GraphFaults> {
        let known = self.known()?;
        let replaced: Vec<&str> = known.replaced.iter().map(String::as_str).collect();
        let given =
            SuppliedInputs { supplied, replaced: &replaced, expands: self.can_expand_dynamic_inputs() };
        Some(check(workflow, &known.info, given))
    }

    /// Whether both have reported exactly the same, so that one check holds for both.
    #[must_use]
    pub fn can_run_the_same(&self, other: &Self) -> bool {
        let (Some(this), Some(that)) = (self.known(), other.known()) else { return false };
        Arc::ptr_eq(&this.info, &that.info)
            && this.replaced == that.replaced
            && self.can_expand_dynamic_inputs() == other.can_expand_dynamic_inputs()
    }

    /// Whether ComfyUI validates the inputs within dynamic inputs. Versions 0.3.x do not, and an unknown version is
    /// assumed not to.
    fn can_expand_dynamic_inputs(&self) -> bool {
        self.version().is_some_and(|version| !version.trim_start_matches('v').starts_with("0.3."))
    }
}
