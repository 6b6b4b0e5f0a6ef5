//! Audio nodes of the simulator.

use serde_json::json;

use super::data::LinkData;
use super::stage::{NodeFailure, NodeInputs, NodeResult, NodeStage, raised};
use crate::simulator::files::FolderKind;
use crate::simulator::media::SineTone;

pub(super) fn tone(inputs: &NodeInputs) -> Result<NodeResult, NodeFailure> {
    let tone = SineTone { seconds: inputs.number("seconds")?, hertz: inputs.number("hertz")? };
    Ok(NodeResult::data(LinkData::Audio(tone)))
}

pub(super) fn save(inputs: &NodeInputs, stage: &NodeStage<'_, '_>) -> Result<NodeResult, NodeFailure> {
    let LinkData::Audio(tone) = inputs.get("audio") else { return raised("TypeError", "audio is no sound") };
    let files = &stage.server.world.files;
    let Some(mut slot) = files.slot(FolderKind::Output, &inputs.text("filename_prefix"))? else {
        return raised("Exception", "Saving outside the output folder is not allowed.");
    };
    let (path, saved) = slot.next(0, "wav");
    std::fs::write(path, tone.wav())?;
    Ok(NodeResult::shows(json!({ "audio": [saved.to_json()] }), Vec::new()))
}
