//! Text to image without a model: the picture follows from prompts, model name and seed. Steps and previews are shown
//! as a sampler shows them. It must not know of files.

use std::sync::Arc;

use super::super::media::Image;
use super::{Data, Failure, Inputs, Produced, Stage, raised};

/// A picture not yet decoded.
#[derive(Debug, Clone)]
pub(crate) struct Latent {
    width: u32,
    height: u32,
    batch: u32,
    meaning: String,
}

impl Latent {
    fn image(&self) -> Image {
        Image::pattern(self.width, self.height, self.batch, self.meaning.as_bytes())
    }
}

pub(super) fn checkpoint(inputs: &Inputs) -> Produced {
    let name: Arc<str> = inputs.text("ckpt_name").into();
    Produced { outputs: vec![Data::Named(name); 3], ..Produced::default() }
}

pub(super) fn empty(inputs: &Inputs) -> Result<Produced, Failure> {
    let (width, height) = (inputs.whole("width")?, inputs.whole("height")?);
    let latent = Latent { width, height, batch: inputs.whole("batch_size")?, meaning: String::new() };
    Ok(Produced::data(Data::Latent(Arc::new(latent))))
}

pub(super) async fn sample(inputs: &Inputs, stage: &mut Stage<'_, '_>) -> Result<Produced, Failure> {
    let start = latent(inputs, "latent_image")?;
    let told: Vec<_> =
        ["model", "seed", "positive", "negative", "cfg"].iter().map(|name| inputs.text(name)).collect();
    let meaning = format!("{}\n{}", start.meaning, told.join("\n"));
    let latent = Latent { meaning, ..(*start).clone() };
    let exec = stage.server.world.config.exec;
    stage.work(exec, inputs.whole("steps")?, Some(&latent.image())).await?;
    Ok(Produced::data(Data::Latent(Arc::new(latent))))
}

pub(super) fn decode(inputs: &Inputs) -> Result<Produced, Failure> {
    Ok(Produced::data(Data::Image(Arc::new(latent(inputs, "samples")?.image()))))
}

fn latent(inputs: &Inputs, name: &str) -> Result<Arc<Latent>, Failure> {
    match inputs.get(name) {
        Data::Latent(latent) => Ok(Arc::clone(latent)),
        other => raised("TypeError", format!("{} is no latent", other.shown())),
    }
}
