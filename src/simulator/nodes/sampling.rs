//! Text to image without a model: the picture follows from prompts, model name and seed. Steps and previews
//! are shown as a sampler shows them.

use std::sync::Arc;

use super::data::{LatentImage, LinkData};
use super::stage::{NodeFailure, NodeInputs, NodeResult, NodeStage, raised};

pub(super) fn checkpoint(inputs: &NodeInputs) -> NodeResult {
    let name: Arc<str> = inputs.text("ckpt_name").into();
    NodeResult { outputs: vec![LinkData::Named(name); 3], ..NodeResult::default() }
}

pub(super) fn empty(inputs: &NodeInputs) -> Result<NodeResult, NodeFailure> {
    let (width, height) = (inputs.whole("width")?, inputs.whole("height")?);
    let latent = LatentImage { width, height, batch: inputs.whole("batch_size")?, meaning: String::new() };
    Ok(NodeResult::data(LinkData::Latent(Arc::new(latent))))
}

pub(super) async fn sample(
    inputs: &NodeInputs,
    stage: &mut NodeStage<'_, '_>,
) -> Result<NodeResult, NodeFailure> {
    let start = latent(inputs, "latent_image")?;
    let told: Vec<_> =
        ["model", "seed", "positive", "negative", "cfg"].iter().map(|name| inputs.text(name)).collect();
    let meaning = format!("{}\n{}", start.meaning, told.join("\n"));
    let latent = LatentImage { meaning, ..(*start).clone() };
    let exec = stage.server.world.config.exec;
    stage.work(exec, inputs.whole("steps")?, Some(&latent.image())).await?;
    Ok(NodeResult::data(LinkData::Latent(Arc::new(latent))))
}

pub(super) fn decode(inputs: &NodeInputs) -> Result<NodeResult, NodeFailure> {
    Ok(NodeResult::data(LinkData::Image(Arc::new(latent(inputs, "samples")?.image()))))
}

fn latent(inputs: &NodeInputs, name: &str) -> Result<Arc<LatentImage>, NodeFailure> {
    match inputs.get(name) {
        LinkData::Latent(latent) => Ok(Arc::clone(latent)),
        other => raised("TypeError", format!("{} is no latent", other.shown())),
    }
}
