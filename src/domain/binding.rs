//! Writes a caller's values into a workflow's text without changing any other byte.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde_json::value::RawValue;

use super::fault::{WorkflowFault, WorkflowFaults};
use super::input::MediaValue;
use super::params::{ListForm, Param, ParamTarget, ParamType, Params, nearest};
use super::text::brief;
use super::workflow::GraphNode;

/// A caller's value for a parameter.
#[derive(Clone)]
pub enum GivenValue<'v> {
    /// JSON.
    Json(&'v RawValue),
    /// The text of a form part that is not a file.
    Text(&'v str),
    /// Form parts that are files, by their indexes.
    Parts(Vec<usize>),
}

impl fmt::Debug for GivenValue<'_> {
    /// Leaves the value out, because a URL in it may carry a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json(_) => "Json(..)",
            Self::Text(_) => "Text(..)",
            Self::Parts(_) => "Parts(..)",
        })
    }
}

/// A file that a value names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaItem<'v> {
    /// The parameter.
    pub param: String,
    /// Its index, if the value is a list of files.
    pub place: Option<usize>,
    /// The value.
    pub value: MediaValue<'v>,
}

impl MediaItem<'_> {
    /// The fault of the value, below `params`; `message` follows the parameter's name.
    #[must_use]
    pub fn fault(&self, message: &str) -> WorkflowFault {
        item_fault(&self.param, self.place, message)
    }
}

/// Values that fit the workflow. Only the names of the files among them are still missing.
#[derive(Debug)]
pub struct BindingPlan<'p, 'v> {
    params: &'p Params<'p, 'p>,
    assigned: Vec<(usize, &'p ParamTarget, AssignedValue<'v>)>,
    media: Vec<MediaItem<'v>>,
}

#[derive(Debug, Clone)]
enum AssignedValue<'v> {
    Json(Cow<'v, str>),
    File(usize),
    Files(std::ops::Range<usize>, ListForm),
}

/// A graph with all values in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundGraph {
    /// The graph's text with the values in place.
    pub graph: String,
    /// The seeds that were drawn, by node id, in the graph's order.
    pub seeds: Vec<(String, u64)>,
}

impl<'p> Params<'p, 'p> {
    /// Checks `values` against the workflow.
    ///
    /// # Errors
    /// All faults at once, with pointers below `params`: unknown parameters, missing ones, wrong types.
    pub fn plan<'v>(
        &'p self,
        values: &[(String, GivenValue<'v>)],
    ) -> Result<BindingPlan<'p, 'v>, WorkflowFaults> {
        let mut plan = BindingPlan { params: self, assigned: Vec::new(), media: Vec::new() };
        let mut faults = WorkflowFaults::default();
        for (name, value) in values {
            match self.declared.get(name) {
                None => faults.push(self.unknown(name)),
                Some(param) if param.media => faults.append(plan.assign_media(name, param, value)),
                Some(param) => faults.extend(plan.assign(name, param, value)),
            }
        }
        for (name, param) in &self.declared {
            if param.required && !values.iter().any(|(given, _)| given == name) {
                let of = param.description.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
                faults.push(WorkflowFault::of_param(
                    name,
                    format!("the workflow requires the parameter {name:?}{of}"),
                ));
            }
        }
        if faults.is_empty() { Ok(plan) } else { Err(faults) }
    }

    fn unknown(&self, name: &str) -> WorkflowFault {
        let shown = brief(name);
        let nearest = nearest(name, self.declared.keys().map(String::as_str));
        let hint = match (nearest.is_empty(), self.declared.is_empty()) {
            (false, _) => format!("; did you mean {}?", nearest.join(" or ")),
            (true, true) => "; the workflow declares none (mark a node's title with `$name`)".to_owned(),
            (true, false) => {
                format!("; it declares {}", self.declared.keys().cloned().collect::<Vec<_>>().join(", "))
            }
        };
        WorkflowFault::of_param(name, format!("the workflow has no parameter {shown:?}{hint}"))
    }

    /// As in `ComfyKit`, a seed of 0 asks for a random one.
    fn draw_seeds(&self, edits: &mut TextEdits<'_>, draw: &mut dyn FnMut() -> u64) -> Vec<(String, u64)> {
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

impl<'p, 'v> BindingPlan<'p, 'v> {
    /// The files that values name, in the order in which [`Self::bind`] expects their names.
    #[must_use]
    pub fn media(&self) -> &[MediaItem<'v>] {
        &self.media
    }

    /// The names of the files in that order; a name that is not known yet is empty.
    #[must_use]
    pub fn known_names(&self) -> Vec<String> {
        let name = |item: &MediaItem<'_>| match &item.value {
            MediaValue::OnServer(name) => name.clone(),
            _ => String::new(),
        };
        self.media.iter().map(name).collect()
    }

    /// The inputs, by node id and name, whose files are not on any backend yet.
    pub fn files_to_come(&self) -> impl Iterator<Item = (&str, &str)> {
        let comes = |place: usize| !matches!(self.media[place].value, MediaValue::OnServer(_));
        let files = self.assigned.iter().filter(move |(_, _, value)| match value {
            AssignedValue::Json(_) => false,
            AssignedValue::File(place) => comes(*place),
            AssignedValue::Files(places, _) => places.clone().any(comes),
        });
        files
            .map(|(node, target, _)| (self.params.workflow.nodes()[*node].id.as_str(), target.field.as_str()))
    }

    /// The inputs, by node id and name, that parameters for files set.
    #[must_use]
    pub fn file_inputs(&self) -> HashSet<(&str, &str)> {
        let nodes = self.params.workflow.nodes();
        let media = self.params.declared.values().filter(|param| param.media);
        media
            .flat_map(|param| &param.targets)
            .map(|target| (nodes[target.node].id.as_str(), target.field.as_str()))
            .collect()
    }

    /// The parameter that sets an input.
    #[must_use]
    pub fn param_of(&self, node_id: &str, field: &str) -> Option<&'p str> {
        let nodes = self.params.workflow.nodes();
        let sets = |target: &ParamTarget| target.field == field && nodes[target.node].id == node_id;
        let is_given = self.assigned.iter().any(|(_, target, _)| sets(target));
        let mut declared = self.params.declared.iter().filter(|_| is_given);
        declared.find(|(_, param)| param.targets.iter().any(sets)).map(|(name, _)| name.as_str())
    }

    /// Writes all values into the graph, with `names` for [`BindingPlan::media`]. Draws a seed from `draw`
    /// for every `seed` or `noise_seed` that is 0 afterwards.
    #[must_use]
    pub fn bind(&self, names: &[String], draw: &mut dyn FnMut() -> u64) -> BoundGraph {
        let json = |name: &String| serde_json::Value::from(name.as_str()).to_string();
        let mut edits = TextEdits::default();
        for (at, target, value) in &self.assigned {
            let text = match value {
                AssignedValue::Json(json) => json.clone(),
                AssignedValue::File(place) => names.get(*place).map(json).unwrap_or_default().into(),
                AssignedValue::Files(places, form) => {
                    let list: Vec<String> =
                        names.get(places.clone()).unwrap_or_default().iter().map(json).collect();
                    match form {
                        ListForm::Bare => format!("[{}]", list.join(",")).into(),
                        ListForm::Wrapped => format!("{{\"__value__\":[{}]}}", list.join(",")).into(),
                    }
                }
            };
            edits.set(&self.params.workflow.nodes()[*at], *at, &target.field, text);
        }
        let seeds = self.params.draw_seeds(&mut edits, draw);
        BoundGraph { graph: edits.apply(self.params.workflow.text()), seeds }
    }

    fn assign(&mut self, name: &str, param: &'p Param, value: &GivenValue<'v>) -> Option<WorkflowFault> {
        for target in &param.targets {
            let json = match value {
                GivenValue::Json(raw) => target.kind.accept(raw.get().trim()),
                GivenValue::Text(text) => accept_text(target.kind, text),
                GivenValue::Parts(_) => {
                    return Some(WorkflowFault::of_param(
                        name,
                        format!("{name:?} takes no file; mark it as `$~{name}` in the workflow if it should"),
                    ));
                }
            };
            let Some(json) = json else {
                return Some(WorkflowFault::of_param(
                    name,
                    format!("{name:?} must be {}", self.wanted(target)),
                ));
            };
            self.assigned.push((target.node, target, AssignedValue::Json(json)));
        }
        None
    }

    /// What a target accepts, and where it is.
    fn wanted(&self, target: &ParamTarget) -> String {
        let node = &self.params.workflow.nodes()[target.node];
        format!(
            "{} (input {:?} of node {:?}, {})",
            target.kind.as_str(),
            brief(&target.field),
            brief(&node.id),
            brief(&node.class_type)
        )
    }

    fn assign_media(&mut self, name: &str, param: &'p Param, value: &GivenValue<'v>) -> WorkflowFaults {
        let (values, is_list) = match media_values(name, value) {
            Ok(values) => values,
            Err(faults) => return faults,
        };
        if let Some(target) =
            param.targets.iter().find(|target| !matches!(target.kind, ParamType::String | ParamType::Untyped))
        {
            return WorkflowFault::of_param(
                name,
                format!("{name:?} is marked as media, but it sets {}", self.wanted(target)),
            )
            .into();
        }
        let single: Vec<&ParamTarget> = param.targets.iter().filter(|target| target.list.is_none()).collect();
        if is_list && !single.is_empty() && single.len() != values.len() {
            let nodes = if single.len() == 1 {
                "one file".to_owned()
            } else {
                format!("{} files, one for each of its nodes", single.len())
            };
            return WorkflowFault::of_param(
                name,
                format!("{name:?} takes {nodes}; {} were given", values.len()),
            )
            .into();
        }
        let first = self.media.len();
        for target in &param.targets {
            let assigned = match target.list {
                Some(form) => AssignedValue::Files(first..first + values.len(), form),
                None if is_list => AssignedValue::File(
                    first + single.iter().position(|one| std::ptr::eq(*one, target)).unwrap_or(0),
                ),
                None => AssignedValue::File(first),
            };
            self.assigned.push((target.node, target, assigned));
        }
        let items = values.into_iter().enumerate();
        self.media.extend(items.map(|(place, value)| MediaItem {
            param: name.to_owned(),
            place: is_list.then_some(place),
            value,
        }));
        WorkflowFaults::default()
    }
}

/// The files of one value, and whether it is a list.
fn media_values<'v>(
    name: &str,
    value: &GivenValue<'v>,
) -> Result<(Vec<MediaValue<'v>>, bool), WorkflowFaults> {
    let one = |raw: &'v RawValue, place| MediaValue::read(raw).map_err(|why| item_fault(name, place, &why));
    match value {
        GivenValue::Parts(parts) => {
            Ok((parts.iter().map(|&part| MediaValue::Part(part)).collect(), parts.len() > 1))
        }
        GivenValue::Text(text) => MediaValue::read_text((*text).to_owned())
            .map(|value| (vec![value], false))
            .map_err(|why| item_fault(name, None, &why).into()),
        GivenValue::Json(raw) if raw.get().starts_with('[') => {
            let items: Vec<&'v RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
            if items.is_empty() {
                return Err(
                    WorkflowFault::of_param(name, format!("{name:?} must not be an empty list")).into()
                );
            }
            let (mut values, mut faults) = (Vec::new(), WorkflowFaults::default());
            for (place, item) in items.into_iter().enumerate() {
                match one(item, Some(place)) {
                    Ok(value) => values.push(value),
                    Err(fault) => faults.push(fault),
                }
            }
            if faults.is_empty() { Ok((values, true)) } else { Err(faults) }
        }
        GivenValue::Json(raw) => {
            one(raw, None).map(|value| (vec![value], false)).map_err(WorkflowFaults::from)
        }
    }
}

/// A form's text for a field: kept as it is if the field takes a text, and otherwise parsed as JSON.
fn accept_text<'v>(kind: ParamType, text: &'v str) -> Option<Cow<'v, str>> {
    match kind {
        ParamType::String | ParamType::Untyped => Some(serde_json::Value::from(text).to_string().into()),
        ParamType::Bool | ParamType::Int | ParamType::Number => {
            let json: &'v RawValue = serde_json::from_str(text.trim()).ok()?;
            kind.accept(json.get())
        }
    }
}

fn item_fault(name: &str, place: Option<usize>, why: &str) -> WorkflowFault {
    match place {
        Some(place) => WorkflowFault {
            node_id: None,
            ..WorkflowFault::at_node(name, &[&place.to_string()], format!("item {place} of {name:?} {why}"))
        },
        None => WorkflowFault::of_param(name, format!("{name:?} {why}")),
    }
}

/// Replacements within the graph's text, by node and field.
#[derive(Debug, Default)]
struct TextEdits<'v>(BTreeMap<(usize, String), TextEdit<'v>>);

#[derive(Debug)]
struct TextEdit<'v> {
    /// The bytes that are replaced; empty if an input is added.
    span: std::ops::Range<usize>,
    /// The text before a new input; `None` if an input is replaced.
    prefix: String,
    json: std::borrow::Cow<'v, str>,
}

impl<'v> TextEdits<'v> {
    fn set(&mut self, node: &GraphNode, at: usize, field: &str, json: impl Into<std::borrow::Cow<'v, str>>) {
        let (span, prefix) = if let Some(input) = node.input(field) {
            (input.span.clone(), String::new())
        } else {
            let of_node = self.0.range((at, String::new())..(at + 1, String::new()));
            let added_before = of_node.into_iter().any(|(_, edit)| !edit.prefix.is_empty());
            let comma = if node.inputs.is_empty() && !added_before { "" } else { "," };
            (node.inputs_end..node.inputs_end, format!("{comma}{}:", serde_json::Value::from(field)))
        };
        match self.0.entry((at, field.to_owned())) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(TextEdit { span, prefix, json: json.into() });
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().json = json.into(),
        }
    }

    fn get(&self, at: usize, field: &str) -> Option<&str> {
        self.0.get(&(at, field.to_owned())).map(|edit| edit.json.as_ref())
    }

    fn apply(self, text: &str) -> String {
        let mut edits: Vec<TextEdit<'_>> = self.0.into_values().collect();
        // The first input of a node has no comma before it, so it must stay the first of the added ones.
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
#[path = "binding_tests.rs"]
mod tests;
