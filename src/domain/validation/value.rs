//! Checks values: whether each can be converted to the input's type.

use std::borrow::Cow;

use serde_json::Value;

use super::faults::FaultKind;
use super::node::NodeCheck;
use super::python::{self, PythonNumber};
use super::slot::{InputFault, NodeSlot};
use crate::domain::fields::{self, JsonFields};
use crate::domain::object_info::{InputKind, NumberRange};

/// The longest value that is shown, in characters.
const SHOWN: usize = 200;
/// The longest list of choices that is shown.
const FEW: usize = 20;

impl NodeCheck<'_, '_> {
    pub fn literal(&mut self, slot: NodeSlot<'_>, raw: &str) {
        // The form in which the editor sends lists that are not links.
        let wrapped = raw.starts_with('{').then(|| JsonFields::parse(raw)).flatten();
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

    fn number(&mut self, slot: NodeSlot<'_>, raw: &str, range: &NumberRange, number: Option<PythonNumber>) {
        let name = slot.name;
        let Some(number) = number else {
            let message = format!("`{name}` must be {}, not {}", article(&slot.spec.type_name), shown(raw));
            let found = InputFault {
                kind: FaultKind::InvalidInputType,
                message,
                received: Some(raw),
                nearest: vec![],
            };
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
        self.fault(slot, InputFault { kind, message, received: Some(raw), nearest: vec![] }, certain);
    }

    pub fn not_in_list(&mut self, slot: NodeSlot<'_>, raw: &str, choices: &[Value], certain: bool) {
        let value = shown(raw);
        let nearest = self.nearest.of(&value, choices.iter().filter_map(Value::as_str));
        let list = if choices.len() > FEW {
            format!("one of the {} values that the backend has", choices.len())
        } else if choices.is_empty() {
            "one of the values that the backend lists, but the backend lists none".to_owned()
        } else {
            let listed: Vec<String> = choices
                .iter()
                .map(|choice| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned))
                .collect();
            format!("one of: {}", listed.join(", "))
        };
        let message = format!("`{}` must be {list}; it is `{value}`", slot.name);
        let kind = FaultKind::ValueNotInList;
        self.fault(slot, InputFault { kind, message, received: Some(raw), nearest }, certain);
    }
}

/// Whether a value is one of the choices; for several values, whether each is.
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

/// A text as it is, anything else as JSON, cut after [`SHOWN`] characters.
pub(super) fn shown(raw: &str) -> Cow<'_, str> {
    let text = fields::text(raw).unwrap_or(Cow::Borrowed(raw));
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => Cow::Owned(text[..end].to_owned()),
        None => text,
    }
}
