//! A node's inputs, its result, and the stage on which it acts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::data::{BlockMessage, LinkData};
use crate::simulator::media::ImageBatch;
use crate::simulator::pyjson;
use crate::simulator::queue::QueuedPrompt;
use crate::simulator::report::{DisplayedNode, RunVoice};
use crate::simulator::server::ServerLife;

/// Why a node did not finish.
#[derive(Debug)]
pub(in crate::simulator) enum NodeFailure {
    Interrupted,
    /// A Python exception: its type and message.
    Raised {
        kind: &'static str,
        message: String,
    },
    /// The whole process crashed.
    Crashed,
}

pub(in crate::simulator) fn raised<T>(
    kind: &'static str,
    message: impl Into<String>,
) -> Result<T, NodeFailure> {
    Err(NodeFailure::Raised { kind, message: message.into() })
}

pub(in crate::simulator) fn out_of_memory<T>(message: &str) -> Result<T, NodeFailure> {
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

/// The nodes that replace a node. Their ids are without the node's prefix.
#[derive(Debug)]
pub(in crate::simulator) struct NodeExpansion {
    pub(in crate::simulator) nodes: Vec<(&'static str, Value)>,
    /// Which of the new nodes' outputs are the outputs of the node.
    pub(in crate::simulator) results: Vec<(&'static str, i64)>,
}

/// The result of a node.
#[derive(Debug, Default)]
pub(in crate::simulator) struct NodeResult {
    pub(in crate::simulator) outputs: Vec<LinkData>,
    pub(in crate::simulator) ui: Option<Value>,
    pub(in crate::simulator) expansion: Option<NodeExpansion>,
}

impl NodeResult {
    pub(super) fn data(data: LinkData) -> Self {
        Self { outputs: vec![data], ..Self::default() }
    }

    pub(super) fn shows(ui: Value, outputs: Vec<LinkData>) -> Self {
        Self { outputs, ui: Some(ui), expansion: None }
    }
}

/// A node's inputs by name.
#[derive(Debug, Default)]
pub(in crate::simulator) struct NodeInputs(pub(in crate::simulator) HashMap<String, LinkData>);

impl NodeInputs {
    pub(super) fn get(&self, name: &str) -> &LinkData {
        const NOTHING: &LinkData = &LinkData::Json(Value::Null);
        self.0.get(name).unwrap_or(NOTHING)
    }

    pub(super) fn value(&self, name: &str) -> Value {
        match self.get(name) {
            LinkData::Json(value) => value.clone(),
            other => Value::String(other.shown()),
        }
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.get(name).shown()
    }

    pub(super) fn whole(&self, name: &str) -> Result<u32, NodeFailure> {
        let value = self.value(name);
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map_or_else(|| raised("TypeError", format!("{name} is no size: {}", pyjson::repr(&value))), Ok)
    }

    pub(super) fn number(&self, name: &str) -> Result<f64, NodeFailure> {
        let value = self.value(name);
        value.as_f64().map_or_else(|| raised("TypeError", format!("{name} is no number")), Ok)
    }

    pub(super) fn switch(&self, name: &str) -> bool {
        self.value(name) == true
    }

    pub(super) fn image(&self, name: &str) -> Result<Arc<ImageBatch>, NodeFailure> {
        match self.get(name) {
            LinkData::Image(image) => Ok(Arc::clone(image)),
            LinkData::Json(value) => {
                let kind = crate::simulator::coerce::type_name(value);
                raised("AttributeError", format!("'{kind}' object has no attribute 'shape'"))
            }
            other => raised("TypeError", format!("{} is no image", other.shown())),
        }
    }

    /// The message of the first blocked input.
    pub(in crate::simulator) fn blocked(&self) -> Option<&BlockMessage> {
        self.0.values().find_map(|data| match data {
            LinkData::Blocked(blocker) => Some(blocker),
            _ => None,
        })
    }

    /// The inputs as `current_inputs` of an error shows them.
    pub(in crate::simulator) fn shown(&self) -> Value {
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
pub(in crate::simulator) struct NodeStage<'a, 'b> {
    pub(in crate::simulator) server: &'a ServerLife,
    pub(in crate::simulator) job: &'a QueuedPrompt,
    pub(in crate::simulator) report: &'b mut RunVoice<'a>,
    pub(in crate::simulator) who: &'b DisplayedNode,
}

impl NodeStage<'_, '_> {
    /// Works for `pause`, then reports a step as done. An interrupt takes effect after the pause, not within
    /// it.
    pub(super) async fn step(
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
    pub(super) async fn work(
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
