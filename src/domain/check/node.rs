//! One node's inputs held against its class. It must not know of other nodes but the ends of links.

use std::borrow::Cow;

use serde_json::Value;

use super::graph::Context;
use super::nearest::Nearest;
use super::own::{self, Own};
use super::python::{self, Num};
use super::{FaultKind, NodeFault};
use crate::domain::fields::{self, Fields};
use crate::domain::object_info::{Autogrow, InputKind, InputSpec, NodeClass, NumberRange, OutputSpec};
use crate::domain::workflow::{Input, Node};

/// The longest value that is shown, in characters.
const SHOWN: usize = 200;
/// The longest list of choices that is shown.
const FEW: usize = 20;

/// A check of one node.
pub(super) struct NodeCheck<'c, 's> {
    context: &'c Context<'c>,
    node: &'c Node,
    class: &'c NodeClass,
    own: Own,
    sources: &'s mut Vec<usize>,
    nearest: &'s mut Nearest,
    faults: Vec<NodeFault>,
}

/// An input as the graph names it, and what its class says of it.
#[derive(Clone, Copy)]
struct Slot<'a> {
    name: &'a str,
    spec: &'a InputSpec,
}

impl<'c, 's> NodeCheck<'c, 's> {
    /// The faults of the node at `place`; the nodes it depends on are added to `sources`.
    pub fn run(
        context: &'c Context<'c>,
        place: usize,
        class: &'c NodeClass,
        sources: &'s mut Vec<usize>,
        nearest: &'s mut Nearest,
    ) -> Vec<NodeFault> {
        let (node, own) = (context.node(place), own::of(class));
        let mut check = Self { context, node, class, own, sources, nearest, faults: Vec::new() };
        for spec in &class.inputs {
            check.input(spec, &spec.name);
        }
        check.faults
    }

    /// One input of the class, which the graph calls `name`, and all it brings.
    fn input(&mut self, spec: &InputSpec, name: &str) {
        let slot = Slot { name, spec };
        match &spec.kind {
            InputKind::DynamicCombo(_) | InputKind::Autogrow(_) if !self.context.expands => {}
            InputKind::DynamicCombo(_) => self.dynamic(slot),
            InputKind::Autogrow(grow) => self.grown(slot, grow),
            // Of its kind only the type's name is known here.
            InputKind::Socket if is_dynamic(&spec.type_name) => {}
            _ => self.plain(slot, spec.required),
        }
    }

    /// An input that brings others by its value. A server takes any value, and none at all; but what it does with
    /// one that is no key ends in an error.
    fn dynamic(&mut self, slot: Slot<'_>) {
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

    /// An input that stands for several of one shape.
    fn grown(&mut self, slot: Slot<'_>, grow: &Autogrow) {
        let Some(template) = grow.template.first() else { return };
        for at in 0..usize::try_from(grow.min).unwrap_or(usize::MAX) {
            let Some(part) = grow.part(&slot.spec.name, at).filter(|_| template.required) else { break };
            let name = format!("{}.{part}", slot.name);
            if self.given(&name).is_none() && !self.is_supplied(&name) {
                self.fault(Slot { name: &name, spec: template }, missing(&name), true);
            }
        }
        let node = self.node;
        for input in &node.inputs {
            let part = input.name.strip_prefix(slot.name).and_then(|rest| rest.strip_prefix('.'));
            if part.is_some_and(|part| grow.has_part(&slot.spec.name, part)) {
                self.plain(Slot { name: &input.name, spec: template }, false);
            }
        }
    }

    fn plain(&mut self, slot: Slot<'_>, required: bool) {
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

    /// A list is a link, whatever it holds.
    fn link(&mut self, slot: Slot<'_>, raw: &str) {
        let (place, output) = match self.end_of(raw) {
            Ok(End::Output { place, output }) => (place, output),
            Ok(End::Unknown) => return,
            Err((message, certain)) => {
                let found =
                    Found { kind: FaultKind::BadLinkedInput, message, received: Some(raw), nearest: vec![] };
                return self.fault(slot, found, certain);
            }
        };
        let wanted = &slot.spec.type_name;
        let mut follow = true;
        if !types_meet(&output.type_name, wanted) {
            // A type may be an object that claims to be equal to every other.
            let from_custom = self.context.class(place).is_none_or(NodeClass::is_custom);
            let certain = !self.class.is_custom() && !from_custom && !self.own.types;
            follow = !certain;
            let message = format!("`{}` takes {wanted}, but is linked to {}", slot.name, output.type_name);
            let found =
                Found { kind: FaultKind::ReturnTypeMismatch, message, received: Some(raw), nearest: vec![] };
            self.fault(slot, found, certain);
        }
        if follow {
            self.sources.push(place);
        }
    }

    /// Where a link comes from, or what is wrong with it and whether that is certain.
    fn end_of(&self, raw: &str) -> Result<End<'c>, (String, bool)> {
        let [id, slot] = fields::list(raw)[..] else {
            return Err(("a list is a link, which has two parts: a node's id and a number".to_owned(), true));
        };
        let place = fields::text(id).and_then(|id| self.context.places.get(&*id).copied());
        let place =
            place.ok_or_else(|| (format!("links to node {id}, which is not in the workflow"), true))?;
        let Some(class) = self.context.class(place) else { return Ok(End::Unknown) };
        let output = python::index(slot, class.outputs.len());
        let output = output.and_then(|at| class.outputs.get(at)).ok_or_else(|| {
            let (node, count) = (self.context.node(place), class.outputs.len());
            let message =
                format!("links to output {slot} of node {} ({}), which has {count}", node.id, class.name);
            // Some packages have lists of outputs that give one for any number.
            (message, !class.is_custom())
        })?;
        Ok(End::Output { place, output })
    }

    fn literal(&mut self, slot: Slot<'_>, raw: &str) {
        // The form in which the editor sends lists that are no links.
        let wrapped = raw.starts_with('{').then(|| Fields::parse(raw)).flatten();
        let raw = wrapped.as_ref().and_then(|fields| fields.raw("__value__")).unwrap_or(raw);
        match &slot.spec.kind {
            InputKind::Int(range) => self.number(slot, raw, range, python::int(raw)),
            InputKind::Float(range) => self.number(slot, raw, range, python::float(raw)),
            InputKind::Combo { choices, by_options, remote, .. } => {
                let checked = (!by_options || self.context.expands)
                    && !remote
                    && slot.spec.options.upload.is_none()
                    && !self.own.replaces(slot.name);
                if checked && !is_choice(raw, choices) {
                    self.not_in_list(slot, raw, choices, !self.class.is_custom());
                }
            }
            _ => {}
        }
    }

    fn number(&mut self, slot: Slot<'_>, raw: &str, range: &NumberRange, number: Option<Num>) {
        let name = slot.name;
        let Some(number) = number else {
            let message = format!("`{name}` must be {}, not {}", article(&slot.spec.type_name), shown(raw));
            let found =
                Found { kind: FaultKind::InvalidInputType, message, received: Some(raw), nearest: vec![] };
            return self.fault(slot, found, true);
        };
        if self.own.replaces(name) {
            return;
        }
        let beyond = |limit: &Option<serde_json::Number>, below: bool| {
            let text = limit.as_ref()?.to_string();
            let limit = python::float(&text)?;
            (if below { number.is_less(limit) } else { limit.is_less(number) }).then_some(text)
        };
        let (kind, word, limit) = if let Some(min) = beyond(&range.min, true) {
            (FaultKind::ValueSmallerThanMin, "least", min)
        } else if let Some(max) = beyond(&range.max, false) {
            (FaultKind::ValueBiggerThanMax, "most", max)
        } else {
            return;
        };
        let message = format!("`{name}` must be at {word} {limit}, not {}", shown(raw));
        let certain = !self.class.is_custom();
        self.fault(slot, Found { kind, message, received: Some(raw), nearest: vec![] }, certain);
    }

    fn not_in_list(&mut self, slot: Slot<'_>, raw: &str, choices: &[Value], certain: bool) {
        let value = shown(raw);
        let nearest = self.nearest.of(&value, choices.iter().filter_map(Value::as_str));
        let list = if choices.len() > FEW {
            format!("one of the {} values the server has", choices.len())
        } else if choices.is_empty() {
            "a value, and the server has none to choose from".to_owned()
        } else {
            let listed: Vec<String> = choices
                .iter()
                .map(|choice| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned))
                .collect();
            format!("one of: {}", listed.join(", "))
        };
        let message = format!("`{}` must be {list}; it is `{value}`", slot.name);
        let kind = FaultKind::ValueNotInList;
        self.fault(slot, Found { kind, message, received: Some(raw), nearest }, certain);
    }

    fn given(&self, name: &str) -> Option<&'c Input> {
        self.node.input(name)
    }

    fn is_supplied(&self, name: &str) -> bool {
        !self.context.supplied.is_empty() && self.context.supplied.contains(&(self.node.id.as_str(), name))
    }

    fn fault(&mut self, slot: Slot<'_>, found: Found<'_>, certain: bool) {
        let Found { kind, message, received, nearest } = found;
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

/// A fault before it is known of which input.
struct Found<'a> {
    kind: FaultKind,
    message: String,
    received: Option<&'a str>,
    nearest: Vec<String>,
}

fn missing(name: &str) -> Found<'static> {
    let message = format!("the input `{name}` is required and not set");
    Found { kind: FaultKind::RequiredInputMissing, message, received: None, nearest: vec![] }
}

/// Where a link comes from.
enum End<'c> {
    Output {
        place: usize,
        output: &'c OutputSpec,
    },
    /// A node of which nothing is known.
    Unknown,
}

/// Types with inputs of their own, of which ComfyUI may get further ones.
fn is_dynamic(type_name: &str) -> bool {
    type_name.starts_with("COMFY_") && type_name.ends_with("_V3")
}

/// Whether an output of one type may be linked to an input of another: they have a type in common, or one is any.
fn types_meet(received: &str, wanted: &str) -> bool {
    let any = |name: &str| name == "*" || is_dynamic(name);
    let each = |names: &'_ str| names.split(',').map(str::trim).any(any);
    received == wanted
        || each(received)
        || each(wanted)
        || received.split(',').any(|name| wanted.split(',').any(|other| other.trim() == name.trim()))
}

/// Whether a value is one of the choices; of several values, whether each is.
fn is_choice(raw: &str, choices: &[Value]) -> bool {
    if let Some(text) = fields::text(raw) {
        return choices.iter().any(|choice| choice.as_str() == Some(&*text));
    }
    let Ok(value) = serde_json::from_str::<Value>(raw) else { return true };
    let among = |value: &Value| choices.iter().any(|choice| python::are_equal(choice, value));
    among(&value) || value.as_array().is_some_and(|values| values.iter().all(among))
}

fn article(type_name: &str) -> &'static str {
    if type_name == "INT" { "a whole number" } else { "a number" }
}

/// A text as it is, all else as JSON, cut after [`SHOWN`] characters.
fn shown(raw: &str) -> Cow<'_, str> {
    let text = fields::text(raw).unwrap_or(Cow::Borrowed(raw));
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => Cow::Owned(text[..end].to_owned()),
        None => text,
    }
}
