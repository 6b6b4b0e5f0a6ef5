//! Assigns saved values to fields: skips the extra values after a field, drops stale values, and replaces
//! missing ones.
//!
//! Source: observed from the official frontend 1.45.15 / 1.58.1.

use std::borrow::Cow;

use serde_json::Value;

use super::widgets::is_widget;
use crate::domain::object_info::{InputKind, InputSpec, NodeClass};

/// How many values the editor keeps after a field for the action after a run ("fixed" and the like), and for
/// a combo's filter.
pub(super) fn controls(name: &str, input: &InputSpec) -> &'static [&'static str] {
    let asked = input.options.control_after_generate;
    match &input.kind {
        InputKind::Int(_) if asked.is_none() && ["seed", "noise_seed"].contains(&name) => {
            &["control_after_generate"]
        }
        InputKind::Int(_) | InputKind::Float(_) if asked == Some(true) => &["control_after_generate"],
        InputKind::Combo { .. } if asked == Some(true) => &["control_after_generate", "control_filter_list"],
        _ => &[],
    }
}

/// Old versions kept a value also for inputs that can only be linked. If the list is exactly as long as it was
/// then, these values are dropped.
pub(super) fn without_stale<'a>(class: &NodeClass, list: &[&'a str]) -> Vec<&'a str> {
    let mut was_forced = Vec::new();
    for input in &class.inputs {
        let forced = input.options.force_input;
        if forced || is_widget(input) {
            was_forced.push(forced);
            if input.options.control_after_generate == Some(true) {
                was_forced.push(false);
            }
        }
    }
    if was_forced.len() != list.len() {
        return list.to_vec();
    }
    list.iter().zip(was_forced).filter(|(_, forced)| !forced).map(|(value, _)| *value).collect()
}

/// The value of a field: the saved one, or the class's default.
pub(super) fn settle<'a>(class: &str, spec: &InputSpec, given: Option<&'a str>) -> Option<Cow<'a, str>> {
    let json = |value: Value| Cow::Owned(value.to_string());
    let Some(given) = given else {
        let own = || matches!(spec.kind, InputKind::Socket).then_some(Cow::Borrowed("\"\""));
        return spec.initial_value().map(json).or_else(own);
    };
    if given == "null" {
        return Some(match &spec.kind {
            InputKind::Combo { choices, .. } => choices.first().cloned().map_or(Cow::Borrowed(given), json),
            InputKind::DynamicCombo(options) => {
                options.first().map_or(Cow::Borrowed(given), |option| json(Value::from(option.key.clone())))
            }
            InputKind::String { multiline: true } => Cow::Borrowed("\"\""),
            _ => Cow::Borrowed(given),
        });
    }
    // Sampler names once began with `sample_`.
    let samples = spec.name == "sampler_name" && ["KSampler", "KSamplerAdvanced"].contains(&class);
    if let Some(name) = given.strip_prefix("\"sample_").filter(|_| samples) {
        return Some(Cow::Owned(format!("\"{name}")));
    }
    Some(Cow::Borrowed(given))
}
