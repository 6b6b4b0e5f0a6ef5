//! Text nodes. They must not touch files.

use serde_json::json;

use super::{Data, Inputs, Produced};

/// Shows anything as text.
pub(super) fn preview(inputs: &Inputs) -> Produced {
    let text = inputs.text("source");
    Produced::shows(json!({ "text": [text] }), vec![Data::Json(text.into())])
}
