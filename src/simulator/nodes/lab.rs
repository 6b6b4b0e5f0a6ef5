//! Nodes for testing a gateway: slow, failing, showing any JSON, blocking, expanding, held until released.

use std::time::Duration;

use serde_json::{Value, json};

use super::data::LinkData;
use super::stage::{NodeExpansion, NodeFailure, NodeInputs, NodeResult, NodeStage, out_of_memory, raised};
use crate::simulator::media::ImageBatch;
use crate::simulator::pyjson;

/// Works for `seconds` in `steps`, with previews if wanted.
pub(super) async fn sleep(
    inputs: &NodeInputs,
    stage: &mut NodeStage<'_, '_>,
) -> Result<NodeResult, NodeFailure> {
    let (seconds, seed) = (inputs.text("seconds"), inputs.text("seed"));
    let time = Duration::try_from_secs_f64(inputs.number("seconds")?).unwrap_or_default();
    let preview = inputs.switch("preview").then(|| ImageBatch::flat(64, 64, 1, 0x0a_00_00));
    stage.work(time, inputs.whole("steps")?, preview.as_ref()).await?;
    if preview.is_some() {
        stage.report.text(stage.who, &format!("slept {seconds}"));
    }
    let text = format!("slept {seconds}s seed {seed}");
    Ok(NodeResult::shows(json!({ "text": [text] }), vec![LinkData::Json(text.into())]))
}

/// Waits until the test releases the name, or the job is interrupted.
pub(super) async fn hold(inputs: &NodeInputs, stage: &NodeStage<'_, '_>) -> Result<NodeResult, NodeFailure> {
    let name = inputs.text("name");
    let world = &stage.server.world;
    let held = name.clone();
    let noted = world.recorder.during(
        |record| {
            record.holding.insert(name.clone());
        },
        move |record| {
            record.holding.remove(&held);
        },
    );
    tokio::select! {
        () = world.released(&name) => {}
        () = stage.server.interrupted() => return Err(NodeFailure::Interrupted),
    }
    drop(noted);
    Ok(NodeResult::shows(json!({ "text": [name] }), vec![LinkData::Json(name.into())]))
}

pub(super) fn fail(inputs: &NodeInputs) -> Result<NodeResult, NodeFailure> {
    let message = inputs.text("message");
    match inputs.text("mode").as_str() {
        "oom" => out_of_memory(&message),
        "exit" => Err(NodeFailure::Crashed),
        "interrupt" => Err(NodeFailure::Interrupted),
        _ => raised("ValueError", message),
    }
}

/// Shows whatever the JSON says. A bare text becomes a list of its letters, as in ComfyUI.
pub(super) fn show(inputs: &NodeInputs) -> Result<NodeResult, NodeFailure> {
    let text = inputs.text("ui_json");
    let Ok(Value::Object(mut ui)) = pyjson::parse(&text) else {
        return raised("json.decoder.JSONDecodeError", "Expecting value: line 1 column 1 (char 0)");
    };
    for (_, value) in &mut ui {
        if let Value::String(letters) = value {
            *value = letters.chars().map(String::from).collect::<Vec<_>>().into();
        }
    }
    Ok(NodeResult::shows(ui.into(), vec![LinkData::Json(text.into())]))
}

pub(super) fn block(inputs: &NodeInputs) -> NodeResult {
    let message = (!inputs.switch("silent")).then(|| inputs.text("message").into());
    NodeResult::data(LinkData::Blocked(message))
}

/// Replaces itself by an `EmptyImage` and a `SaveImage`.
pub(super) fn expand(inputs: &NodeInputs) -> NodeResult {
    let size = json!({ "width": 32, "height": 32, "batch_size": 1, "color": inputs.value("color") });
    let image = json!({ "class_type": "EmptyImage", "inputs": size });
    // The link is without the prefix of this node, which is put before it later.
    let save = json!({ "images": ["1", 0], "filename_prefix": inputs.value("prefix") });
    let save = json!({ "class_type": "SaveImage", "inputs": save });
    let expansion = NodeExpansion { nodes: vec![("1", image), ("2", save)], results: vec![("1", 0)] };
    NodeResult { expansion: Some(expansion), ..NodeResult::default() }
}
