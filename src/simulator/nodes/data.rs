//! The values that run along the links of a graph.

use std::sync::Arc;

use serde_json::Value;

use crate::simulator::media::{ImageBatch, SineTone};
use crate::simulator::pyjson;

/// One value of a link.
#[derive(Debug, Clone)]
pub(in crate::simulator) enum LinkData {
    Json(Value),
    Image(Arc<ImageBatch>),
    Latent(Arc<LatentImage>),
    /// A model, text encoder, decoder or conditioning: only the text it stands for.
    Named(Arc<str>),
    Audio(SineTone),
    /// Nothing that depends on this runs. With a text, the first node that would have run reports it.
    Blocked(BlockMessage),
}

impl LinkData {
    /// As Python would print it.
    pub(in crate::simulator) fn shown(&self) -> String {
        match self {
            Self::Json(value) => pyjson::python(value),
            Self::Image(image) => {
                format!("tensor of shape ({}, {}, {}, 3)", image.batch, image.height, image.width)
            }
            Self::Latent(_) => "{'samples': tensor}".to_owned(),
            Self::Named(name) => name.to_string(),
            Self::Audio(tone) => format!("{{'waveform': {} s, 'sample_rate': 16000}}", tone.seconds),
            Self::Blocked(_) => "ExecutionBlocker".to_owned(),
        }
    }
}

/// The message of a blocked node, if it has one.
pub(in crate::simulator) type BlockMessage = Option<Arc<str>>;

/// A picture that is not decoded yet.
#[derive(Debug, Clone)]
pub(in crate::simulator) struct LatentImage {
    pub width: u32,
    pub height: u32,
    pub batch: u32,
    pub meaning: String,
}

impl LatentImage {
    pub fn image(&self) -> ImageBatch {
        ImageBatch::pattern(self.width, self.height, self.batch, self.meaning.as_bytes())
    }
}
