//! Text nodes.

use serde_json::json;

use super::data::LinkData;
use super::stage::{NodeInputs, NodeResult};

/// Shows anything as text.
pub(super) fn preview(inputs: &NodeInputs) -> NodeResult {
    let text = inputs.text("source");
    NodeResult::shows(json!({ "text": [text] }), vec![LinkData::Json(text.into())])
}
