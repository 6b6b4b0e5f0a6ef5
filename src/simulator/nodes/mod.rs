//! What the nodes do. Each takes its inputs and a [`NodeStage`] to act on, and gives outputs and something to
//! show.

mod audio;
mod image;
mod lab;
mod sampling;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::media::{ImageBatch, SineTone};
use super::pyjson;
use super::queue::QueuedPrompt;
use super::report::{DisplayedNode, RunVoice};
use super::server::ServerLife;

/// What runs along the links.
#[derive(Debug, Clone)]
pub(super) enum LinkData {
    Json(Value),
    Image(Arc<ImageBatch>),
    Latent(Arc<sampling::LatentImage>),
    /// A model, text encoder, decoder or conditioning: only the text it stands for.
    Named(Arc<str>),
    Audio(SineTone),
    /// Nothing that follows runs; with a text, the first that would have says so.
    Blocked(BlockMessage),
}

impl LinkData {
    /// As Python would print it.
    pub(super) fn shown(&self) -> String {
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

/// What a blocked node would have said; empty: nothing.
pub(super) type BlockMessage = Option<Arc<str>>;

/// Why a node did not finish.
#[derive(Debug)]
pub(super) enum NodeFailure {
    Interrupted,
    /// A Python exception: its type and message.
    Raised {
        kind: &'static str,
        message: String,
    },
    /// The whole process died.
    Crashed,
}

pub(super) fn raised<T>(kind: &'static str, message: impl Into<String>) -> Result<T, NodeFailure> {
    Err(NodeFailure::Raised { kind, message: message.into() })
}

pub(super) fn out_of_memory<T>(message: &str) -> Result<T, NodeFailure> {
    raised(
        "torch.OutOfMemoryError",
        format!("{message}\nThis error means you ran out of memory on your GPU."),
    )
}

impl From<std::io::Error> for NodeFailure {
    fn from(error: std::io::Error) -> Self {
        Self::Raised { kind: "OSError", message: error.to_string() }
    }
}

/// Nodes a node puts in its place. Ids are without the prefix of the node.
#[derive(Debug)]
pub(super) struct NodeExpansion {
    pub(super) nodes: Vec<(&'static str, Value)>,
    /// Which of the new nodes' outputs are the outputs of the node.
    pub(super) results: Vec<(&'static str, i64)>,
}

/// What a node gives.
#[derive(Debug, Default)]
pub(super) struct NodeResult {
    pub(super) outputs: Vec<LinkData>,
    pub(super) ui: Option<Value>,
    pub(super) expansion: Option<NodeExpansion>,
}

impl NodeResult {
    fn data(data: LinkData) -> Self {
        Self { outputs: vec![data], ..Self::default() }
    }

    fn shows(ui: Value, outputs: Vec<LinkData>) -> Self {
        Self { outputs, ui: Some(ui), expansion: None }
    }
}

/// A node's inputs by name.
#[derive(Debug, Default)]
pub(super) struct NodeInputs(pub(super) HashMap<String, LinkData>);

impl NodeInputs {
    fn get(&self, name: &str) -> &LinkData {
        const NOTHING: &LinkData = &LinkData::Json(Value::Null);
        self.0.get(name).unwrap_or(NOTHING)
    }

    fn value(&self, name: &str) -> Value {
        match self.get(name) {
            LinkData::Json(value) => value.clone(),
            other => Value::String(other.shown()),
        }
    }

    fn text(&self, name: &str) -> String {
        self.get(name).shown()
    }

    fn whole(&self, name: &str) -> Result<u32, NodeFailure> {
        let value = self.value(name);
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map_or_else(|| raised("TypeError", format!("{name} is no size: {}", pyjson::repr(&value))), Ok)
    }

    fn number(&self, name: &str) -> Result<f64, NodeFailure> {
        let value = self.value(name);
        value.as_f64().map_or_else(|| raised("TypeError", format!("{name} is no number")), Ok)
    }

    fn switch(&self, name: &str) -> bool {
        self.value(name) == true
    }

    fn image(&self, name: &str) -> Result<Arc<ImageBatch>, NodeFailure> {
        match self.get(name) {
            LinkData::Image(image) => Ok(Arc::clone(image)),
            LinkData::Json(value) => {
                let kind = super::coerce::type_name(value);
                raised("AttributeError", format!("'{kind}' object has no attribute 'shape'"))
            }
            other => raised("TypeError", format!("{} is no image", other.shown())),
        }
    }

    /// The blocker, when an input is blocked.
    pub(super) fn blocked(&self) -> Option<&BlockMessage> {
        self.0.values().find_map(|data| match data {
            LinkData::Blocked(blocker) => Some(blocker),
            _ => None,
        })
    }

    /// As `current_inputs` of an error shows them.
    pub(super) fn shown(&self) -> Value {
        let shown = self.0.iter().map(|(name, data)| {
            let value = match data {
                LinkData::Json(value) => value.clone(),
                other => Value::String(other.shown()),
            };
            (name.clone(), Value::Array(vec![value]))
        });
        let mut fields: Vec<_> = shown.collect();
        fields.sort_by(|one, two| one.0.cmp(&two.0));
        Value::Object(fields.into_iter().collect::<Map<_, _>>())
    }
}

/// Where a node acts.
pub(super) struct NodeStage<'a, 'b> {
    pub(super) server: &'a ServerLife,
    pub(super) job: &'a QueuedPrompt,
    pub(super) report: &'b mut RunVoice<'a>,
    pub(super) who: &'b DisplayedNode,
}

impl NodeStage<'_, '_> {
    /// Works for `pause`, then reports a step done. An interruption shows here, not within the pause.
    async fn step(
        &mut self,
        done: u32,
        all: u32,
        pause: Duration,
        preview: Option<&ImageBatch>,
    ) -> Result<(), NodeFailure> {
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            self.server.world.clock.sleep(pause).await;
        }
        if self.server.is_interrupted() {
            return Err(NodeFailure::Interrupted);
        }
        let preview = preview.map(ImageBatch::preview_png).transpose()?;
        self.report.progress(self.who, done, all, preview.as_deref());
        Ok(())
    }

    /// Works for `time` in `steps` equal steps.
    async fn work(
        &mut self,
        time: Duration,
        steps: u32,
        preview: Option<&ImageBatch>,
    ) -> Result<(), NodeFailure> {
        for step in 1..=steps {
            self.step(step, steps, time / steps, preview).await?;
        }
        Ok(())
    }
}

/// Runs a node of `class`.
pub(super) async fn run(
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
