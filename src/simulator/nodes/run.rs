//! Runs one node by its class.

use serde_json::Value;

use super::data::LinkData;
use super::stage::{NodeFailure, NodeInputs, NodeResult, NodeStage, raised};
use super::{audio, image, lab, sampling, text};
use crate::simulator::pyjson;

/// Runs a node of `class`.
pub(in crate::simulator) async fn run(
    class: &str,
    inputs: &NodeInputs,
    mut stage: NodeStage<'_, '_>,
) -> Result<NodeResult, NodeFailure> {
    let stage = &mut stage;
    match class {
        "EmptyImage" => image::empty(inputs, stage).await,
        "SaveImage" => image::save(inputs, stage).await,
        "PreviewImage" => image::preview(inputs, stage).await,
        "LoadImage" => image::load(inputs, stage),
        "ImageInvert" => image::invert(inputs),
        "ImageScale" => image::scale(inputs),
        "PreviewAny" => Ok(text::preview(inputs)),
        "PrimitiveString" | "PrimitiveStringMultiline" | "PrimitiveInt" | "PrimitiveFloat" => {
            Ok(NodeResult::data(LinkData::Json(inputs.value("value"))))
        }
        "CheckpointLoaderSimple" => Ok(sampling::checkpoint(inputs)),
        "CLIPTextEncode" => Ok(NodeResult::data(LinkData::Named(inputs.text("text").into()))),
        "EmptyLatentImage" => sampling::empty(inputs),
        "KSampler" => sampling::sample(inputs, stage).await,
        "VAEDecode" => sampling::decode(inputs),
        "SimTone" => audio::tone(inputs),
        "SimSaveWav" => audio::save(inputs, stage),
        "SimHold" => lab::hold(inputs, stage).await,
        "LabSleep" => lab::sleep(inputs, stage).await,
        "LabFail" => lab::fail(inputs),
        "LabUI" => lab::show(inputs),
        "LabBlock" => Ok(lab::block(inputs)),
        "LabExpand" => Ok(lab::expand(inputs)),
        other => raised("KeyError", pyjson::repr(&Value::String(other.to_owned()))),
    }
}
