//! The parameters a workflow declares, and binding a caller's values to them without touching any other byte.
//! It must not know where values come from nor fetch what they point at.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::dsl::{self, Title};
use super::workflow::{Fault, Node, Workflow};

/// Node classes whose fields name media files whether or not the marker says `~`.
const MEDIA_CLASSES: [&str; 6] =
    ["LoadImage", "LoadImageMask", "LoadAudio", "LoadVideo", "VHS_LoadAudioUpload", "VHS_LoadVideo"];

/// What values a field takes, told by the literal that stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    /// `true` or `false`.
    Bool,
    /// A whole number of any size.
    Int,
    /// Any number.
    Float,
    /// A text.
    String,
    /// The field holds no literal to tell by: any text, number or boolean.
    Untyped,
}

impl ParamType {
    fn of(literal: &str) -> Self {
        match literal.as_bytes().first() {
            Some(b't' | b'f') => Self::Bool,
            Some(b'-' | b'0'..=b'9') if literal.contains(['.', 'e', 'E']) => Self::Float,
            Some(b'-' | b'0'..=b'9') => Self::Int,
            Some(b'"') => Self::String,
            _ => Self::Untyped,
        }
    }

    /// The type's name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Int => "a whole number",
            Self::Float => "a number",
            Self::String => "a text",
            Self::Untyped => "a text, number or boolean",
        }
    }

    /// The JSON to put into the field for `value`, or `None` if its type is wrong.
    fn accept(self, value: &str) -> Option<&str> {
        let given = Self::of(value);
        match (self, given) {
            (Self::Int, Self::Float) => value.strip_suffix(".0"),
            (Self::Float, Self::Int) => Some(value),
            (Self::Untyped, given) => (given != Self::Untyped).then_some(value),
            (wanted, given) => (wanted == given).then_some(value),
        }
    }
}

/// One input that a parameter sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The node's position in the workflow.
    node: usize,
    /// The input's name.
    pub field: String,
    /// What the field takes.
    pub kind: ParamType,
}

/// A parameter the workflow declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// The inputs it sets; at least one.
    pub targets: Vec<Target>,
    /// Whether the caller must give it.
    pub required: bool,
    /// Whether its value names a media file.
    pub media: bool,
    /// What it is for, in the author's words.
    pub description: Option<String>,
}

/// The parameters of one workflow, by name.
#[derive(Debug)]
pub struct Params<'w, 'a> {
    workflow: &'w Workflow<'a>,
    declared: BTreeMap<String, Param>,
}

/// What came of binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The graph's text with the values in place.
    pub graph: String,
    /// The seeds that were drawn, by node id, in the graph's order.
    pub seeds: Vec<(String, u64)>,
}

impl<'w, 'a> Params<'w, 'a> {
    /// Reads the markers of all titles.
    ///
    /// # Errors
    /// A fault for each broken marker and each optional parameter without a default.
    pub fn declared_in(workflow: &'w Workflow<'a>) -> Result<Self, Vec<Fault>> {
        let mut declared: BTreeMap<String, Param> = BTreeMap::new();
        let mut faults = Vec::new();
        for (at, node) in workflow.nodes().iter().enumerate() {
            let Some(title) = node.title.as_deref() else { continue };
            match dsl::read_title(title) {
                Ok(Title::Output(_)) => {}
                Ok(Title::Params(markers)) => {
                    for marker in markers {
                        declare(workflow, at, &marker, &mut declared);
                    }
                }
                Err(invalid) => {
                    faults.push(Fault::at_node(&node.id, &["_meta", "title"], invalid.to_string()));
                }
            }
        }
        faults.extend(without_default(workflow, &declared));
        if faults.is_empty() { Ok(Self { workflow, declared }) } else { Err(faults) }
    }

    /// The declared parameters, by name.
    #[must_use]
    pub const fn declared(&self) -> &BTreeMap<String, Param> {
        &self.declared
    }

    /// Puts `values` into the graph; draws a seed from `draw` for every `seed` or `noise_seed` that is then 0.
    ///
    /// # Errors
    /// All faults at once, with pointers below `params`: unknown parameters, missing ones, wrong types.
    pub fn bind(
        &self,
        values: &[(String, &RawValue)],
        draw: &mut dyn FnMut() -> u64,
    ) -> Result<Bound, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut edits = Edits::default();
        for (name, value) in values {
            match self.declared.get(name) {
                None => faults.push(self.unknown(name)),
                Some(param) => faults.extend(self.bind_one(name, param, value.get().trim(), &mut edits)),
            }
        }
        for (name, param) in &self.declared {
            if param.required && !values.iter().any(|(given, _)| given == name) {
                let of = param.description.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
                faults.push(param_fault(name, format!("the workflow requires the parameter {name:?}{of}")));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let seeds = self.draw_seeds(&mut edits, draw);
        Ok(Bound { graph: edits.apply(self.workflow.text()), seeds })
    }

    fn bind_one<'v>(
        &self,
        name: &str,
        param: &Param,
        value: &'v str,
        edits: &mut Edits<'v>,
    ) -> Option<Fault> {
        if param.media && !value.starts_with('"') {
            return Some(param_fault(
                name,
                format!("{name:?} must be the name of a file on the ComfyUI server, as a text"),
            ));
        }
        if param.media
            && ["\"http://", "\"https://", "\"data:"].iter().any(|scheme| value.starts_with(scheme))
        {
            return Some(param_fault(
                name,
                format!("{name:?} takes the name of a file that is already on the ComfyUI server, not a URL"),
            ));
        }
        for target in &param.targets {
            let Some(json) = target.kind.accept(value) else {
                let node = &self.workflow.nodes()[target.node];
                return Some(param_fault(
                    name,
                    format!(
                        "{name:?} must be {} (input {:?} of node {:?}, {})",
                        target.kind.as_str(),
                        target.field,
                        node.id,
                        node.class_type
                    ),
                ));
            };
            edits.set(&self.workflow.nodes()[target.node], target.node, &target.field, json);
        }
        None
    }

    fn unknown(&self, name: &str) -> Fault {
        let nearest = nearest(name, self.declared.keys().map(String::as_str));
        let hint = match (nearest.is_empty(), self.declared.is_empty()) {
            (false, _) => format!("; did you mean {}?", nearest.join(" or ")),
            (true, true) => "; the workflow declares none (mark a node's title with `$name`)".to_owned(),
            (true, false) => {
                format!("; it declares {}", self.declared.keys().cloned().collect::<Vec<_>>().join(", "))
            }
        };
        param_fault(name, format!("the workflow has no parameter {name:?}{hint}"))
    }

    /// `ComfyKit`'s rule: a seed of 0 asks for a random one.
    fn draw_seeds(&self, edits: &mut Edits<'_>, draw: &mut dyn FnMut() -> u64) -> Vec<(String, u64)> {
        let mut seeds = Vec::new();
        for (at, node) in self.workflow.nodes().iter().enumerate() {
            for field in ["seed", "noise_seed"] {
                let literal = node.input(field).map(|input| self.workflow.value(input));
                let value = edits.get(at, field).or(literal);
                if value.is_some_and(|value| matches!(value, "0" | "\"0\"")) {
                    let seed = draw();
                    edits.set(node, at, field, seed.to_string());
                    seeds.push((node.id.clone(), seed));
                }
            }
        }
        seeds
    }
}

fn param_fault(name: &str, message: String) -> Fault {
    Fault { node_id: None, ..Fault::at_node(name, &[], message) }
}

fn declare(
    workflow: &Workflow<'_>,
    at: usize,
    marker: &dsl::ParamMarker<'_>,
    declared: &mut BTreeMap<String, Param>,
) {
    let node = &workflow.nodes()[at];
    let literal = node.input(marker.field).filter(|input| input.link.is_none());
    let kind = literal.map_or(ParamType::Untyped, |input| ParamType::of(workflow.value(input)));
    let param = declared.entry(marker.name.to_owned()).or_insert_with(|| Param {
        targets: Vec::new(),
        required: false,
        media: false,
        description: None,
    });
    param.targets.push(Target { node: at, field: marker.field.to_owned(), kind });
    param.required |= marker.required;
    param.media |= marker.media || MEDIA_CLASSES.contains(&node.class_type.as_str());
    if param.description.is_none() {
        param.description = marker.description.map(str::to_owned);
    }
}

fn without_default(workflow: &Workflow<'_>, declared: &BTreeMap<String, Param>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, param) in declared.iter().filter(|(_, param)| !param.required) {
        for target in &param.targets {
            let node = &workflow.nodes()[target.node];
            if node.input(&target.field).is_none_or(|input| input.link.is_some()) {
                let message = format!(
                    "the optional parameter {name:?} needs a default: put a literal into input {:?}, or mark it required as `${name}.{}!`",
                    target.field, target.field
                );
                faults.push(Fault::at_node(&node.id, &["inputs", &target.field], message));
            }
        }
    }
    faults
}

/// Up to three known names that `name` may have been meant as, the nearest first.
#[must_use]
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut close: Vec<(f64, &str)> = known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0));
    close.into_iter().take(3).map(|(_, known)| known).collect()
}

/// Replacements within the graph's text, by node and field.
#[derive(Debug, Default)]
struct Edits<'v>(BTreeMap<(usize, String), Edit<'v>>);

#[derive(Debug)]
struct Edit<'v> {
    /// The bytes that are replaced; empty where an input is added.
    span: std::ops::Range<usize>,
    /// Set where the input is new: what stands before its value.
    prefix: String,
    json: std::borrow::Cow<'v, str>,
}

impl<'v> Edits<'v> {
    fn set(&mut self, node: &Node, at: usize, field: &str, json: impl Into<std::borrow::Cow<'v, str>>) {
        let (span, prefix) = if let Some(input) = node.input(field) {
            (input.span.clone(), String::new())
        } else {
            let added_before = self.0.iter().any(|((node, _), edit)| *node == at && !edit.prefix.is_empty());
            let comma = if node.inputs.is_empty() && !added_before { "" } else { "," };
            (node.inputs_end..node.inputs_end, format!("{comma}{}:", serde_json::Value::from(field)))
        };
        match self.0.entry((at, field.to_owned())) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Edit { span, prefix, json: json.into() });
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().json = json.into(),
        }
    }

    fn get(&self, at: usize, field: &str) -> Option<&str> {
        self.0.get(&(at, field.to_owned())).map(|edit| edit.json.as_ref())
    }

    fn apply(self, text: &str) -> String {
        let mut edits: Vec<Edit<'_>> = self.0.into_values().collect();
        // An input that is first of its node has no comma: it must stay first among the added ones.
        edits.sort_by_key(|edit| (edit.span.start, edit.prefix.starts_with(',')));
        let mut graph = String::with_capacity(
            text.len() + edits.iter().map(|edit| edit.json.len() + edit.prefix.len()).sum::<usize>(),
        );
        let mut done = 0;
        for edit in edits {
            graph.push_str(&text[done..edit.span.start]);
            graph.push_str(&edit.prefix);
            graph.push_str(&edit.json);
            done = edit.span.end;
        }
        graph.push_str(&text[done..]);
        graph
    }
}

#[cfg(test)]
#[path = "params_tests.rs"]
mod tests;
