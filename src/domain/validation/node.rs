//! Checks one node's inputs against its class: which exist and which are missing. `link` and `value` check
//! their contents.

use serde_json::Value;

use super::context::GraphContext;
use super::faults::{FaultKind, NodeFault};
use super::nearest::NearestNames;
use super::own::{self, ClassOwnChecks};
use super::slot::{InputFault, NodeSlot};
use super::value::shown;
use crate::domain::fields;
use crate::domain::object_info::{AutogrowShape, InputKind, InputSpec, NodeClass};
use crate::domain::workflow::{GraphNode, NodeInput};

/// The most parts of an input that grows in ComfyUI.
const MOST_PARTS: usize = 100;

/// The check of one node.
pub(super) struct NodeCheck<'c, 's> {
    pub context: &'c GraphContext<'c>,
    pub node: &'c GraphNode,
    pub class: &'c NodeClass,
    pub own: ClassOwnChecks,
    pub sources: &'s mut Vec<usize>,
    pub nearest: &'s mut NearestNames,
    pub faults: Vec<NodeFault>,
}

impl<'c, 's> NodeCheck<'c, 's> {
    /// The faults of the node at `place`. The nodes that it depends on are added to `sources`.
    pub fn run(
        context: &'c GraphContext<'c>,
        place: usize,
        class: &'c NodeClass,
        sources: &'s mut Vec<usize>,
        nearest: &'s mut NearestNames,
    ) -> Vec<NodeFault> {
        let (node, own) = (context.node(place), own::of(class));
        let mut check = Self { context, node, class, own, sources, nearest, faults: Vec::new() };
        for spec in &class.inputs {
            check.input(spec, &spec.name);
        }
        check.faults
    }

    /// Checks one input of the class, named `name` in the graph, and its dependent inputs.
    fn input(&mut self, spec: &InputSpec, name: &str) {
        let slot = NodeSlot { name, spec };
        match &spec.kind {
            InputKind::DynamicCombo(_) | InputKind::Autogrow(_) if !self.context.expands => {}
            InputKind::DynamicCombo(_) => self.dynamic(slot),
            InputKind::Autogrow(grow) => self.grown(slot, grow),
            // Of its kind only the type's name is known here.
            InputKind::Socket if is_dynamic(&spec.type_name) => {}
            _ => self.plain(slot, spec.required),
        }
    }

    /// An input whose value selects further inputs. A backend accepts any value, or none, but a value that is
    /// not a key ends in an error.
    fn dynamic(&mut self, slot: NodeSlot<'_>) {
        let InputKind::DynamicCombo(options) = &slot.spec.kind else { return };
        let Some(input) = self.given(slot.name) else {
            if slot.spec.required && !self.is_supplied(slot.name) {
                self.fault(slot, missing(slot.name), false);
            }
            return;
        };
        let raw = self.context.workflow.value(input);
        let key = fields::text(raw);
        if let Some(option) = options.iter().find(|option| key.as_deref().unwrap_or(raw) == option.key) {
            for inner in &option.inputs {
                self.input(inner, &format!("{}.{}", slot.name, inner.name));
            }
        } else if !raw.starts_with('[') {
            let keys: Vec<Value> = options.iter().map(|option| Value::from(option.key.as_str())).collect();
            self.not_in_list(slot, raw, &keys, false);
        }
    }

    /// An input that stands for several inputs of one shape.
    fn grown(&mut self, slot: NodeSlot<'_>, grow: &AutogrowShape) {
        let Some(template) = grow.template.first() else { return };
        for at in 0..usize::try_from(grow.min).map_or(MOST_PARTS, |min| min.min(MOST_PARTS)) {
            let Some(part) = grow.part(&slot.spec.name, at).filter(|_| template.required) else { break };
            let name = format!("{}.{part}", slot.name);
            if self.given(&name).is_none() && !self.is_supplied(&name) {
                self.fault(NodeSlot { name: &name, spec: template }, missing(&name), true);
            }
        }
        let node = self.node;
        for input in &node.inputs {
            let part = input.name.strip_prefix(slot.name).and_then(|rest| rest.strip_prefix('.'));
            if part.is_some_and(|part| grow.has_part(&slot.spec.name, part)) {
                self.plain(NodeSlot { name: &input.name, spec: template }, false);
            }
        }
    }

    fn plain(&mut self, slot: NodeSlot<'_>, required: bool) {
        if self.is_supplied(slot.name) {
            return;
        }
        let Some(input) = self.given(slot.name) else {
            if required {
                self.fault(slot, missing(slot.name), true);
            }
            return;
        };
        let raw = self.context.workflow.value(input);
        if raw.starts_with('[') { self.link(slot, raw) } else { self.literal(slot, raw) }
    }

    fn given(&self, name: &str) -> Option<&'c NodeInput> {
        self.node.input(name)
    }

    fn is_supplied(&self, name: &str) -> bool {
        !self.context.supplied.is_empty() && self.context.supplied.contains(&(self.node.id.as_str(), name))
    }

    pub fn fault(&mut self, slot: NodeSlot<'_>, found: InputFault<'_>, certain: bool) {
        let InputFault { kind, message, received, nearest } = found;
        let received = received.map(|raw| shown(raw).into_owned());
        self.faults.push(NodeFault {
            kind,
            message,
            input: Some(slot.name.to_owned()),
            received,
            nearest,
            certain,
        });
    }
}

fn missing(name: &str) -> InputFault<'static> {
    let message = format!("the input `{name}` is required and not set");
    InputFault { kind: FaultKind::RequiredInputMissing, message, received: None, nearest: vec![] }
}

/// Types with inputs of their own, of which ComfyUI may get further ones.
pub(super) fn is_dynamic(type_name: &str) -> bool {
    type_name.starts_with("COMFY_") && type_name.ends_with("_V3")
}
