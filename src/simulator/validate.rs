//! Validates a prompt before it is queued, with ComfyUI's response bodies. Bad output branches are dropped as
//! long as one is good.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::classes::{self, ClassInput, ClassInputKind, SimulatedClass};
use super::coerce::{ValueRefusal, coerce};
use super::config::ComfyVersion;
use super::object_info::ListChoices;
use super::pyjson;

/// A prompt that may run: its graph with values converted, its good outputs, and the faults of the others.
#[derive(Debug)]
pub(super) struct ValidPrompt {
    pub(super) outputs: Vec<String>,
    pub(super) node_errors: Value,
}

/// Why a prompt is not queued.
#[derive(Debug)]
pub(super) enum PromptRefusal {
    /// 400 with this body.
    Explained(Value),
    /// 500: the prompt raised an exception in ComfyUI's own validation.
    Crashed,
}

/// The two parts of every 400 body of `POST /prompt`.
pub(super) fn refusal(kind: &str, message: &str, details: &str, extra: &Value, node_errors: &Value) -> Value {
    let error = json!({ "type": kind, "message": message, "details": details, "extra_info": extra });
    json!({ "error": error, "node_errors": node_errors })
}

/// Checks `graph` and converts its values in place. With `targets`, only those outputs count.
pub(super) fn validate(
    graph: &mut Map<String, Value>,
    targets: Option<&dyn Fn(&str) -> bool>,
    version: ComfyVersion,
    choices: &ListChoices<'_>,
) -> Result<ValidPrompt, PromptRefusal> {
    let mut outputs = Vec::new();
    for (id, node) in graph.iter() {
        let class = class_of(id, node, version, choices)?;
        if class.output_node && targets.is_none_or(|wanted| wanted(id)) {
            outputs.push(id.clone());
        }
    }
    if outputs.is_empty() {
        let body = refusal("prompt_no_outputs", "Prompt has no outputs", "", &json!({}), &json!({}));
        return Err(PromptRefusal::Explained(body));
    }
    let mut check = PromptCheck {
        graph,
        choices,
        version,
        verdicts: Vec::new(),
        index: HashMap::new(),
        path: Vec::new(),
    };
    let (mut good, mut details, mut node_errors) = (Vec::new(), Vec::new(), Map::new());
    for output in outputs {
        if check.output(&output) {
            good.push(output);
            continue;
        }
        details.extend(check.reasons(&output).iter().map(|reason| {
            format!("{}: {}", pyjson::python(&reason["message"]), pyjson::python(&reason["details"]))
        }));
        check.explain(&output, &mut node_errors);
    }
    if good.is_empty() {
        let (kind, message) = ("prompt_outputs_failed_validation", "Prompt outputs failed validation");
        let body = refusal(kind, message, &details.join("\n"), &json!({}), &node_errors.into());
        return Err(PromptRefusal::Explained(body));
    }
    Ok(ValidPrompt { outputs: good, node_errors: node_errors.into() })
}

fn class_of(
    id: &str,
    node: &Value,
    version: ComfyVersion,
    choices: &ListChoices<'_>,
) -> Result<&'static SimulatedClass, PromptRefusal> {
    let name = node.get("class_type").and_then(Value::as_str);
    if let Some(class) = name.and_then(|name| choices.find(name)) {
        return Ok(class);
    }
    // 0.3.64 only looks for the word `class_type` in a node, which Python does in texts and lists, too.
    let searched = version == ComfyVersion::V0_3_64 && (node.is_string() || node.is_array());
    if !node.is_object() && !searched {
        return Err(PromptRefusal::Crashed);
    }
    let details = format!("Node ID '#{id}'");
    let title = node.get("_meta").and_then(|meta| meta.get("title")).and_then(Value::as_str);
    let (kind, message) = match (version, name) {
        (ComfyVersion::V0_3_64, None) => {
            ("invalid_prompt", "Cannot execute because a node is missing the class_type property.".to_owned())
        }
        (ComfyVersion::V0_3_64, Some(name)) => {
            ("invalid_prompt", format!("Cannot execute because node {name} does not exist."))
        }
        (ComfyVersion::V0_24_0, None) => {
            let shown = title.map_or_else(|| format!("ID #{id}"), str::to_owned);
            let why = "has no class_type. The workflow may be corrupted or a custom node is missing.";
            ("missing_node_type", format!("Node '{shown}' {why}"))
        }
        (ComfyVersion::V0_24_0, Some(name)) => {
            let shown = title.unwrap_or(name);
            ("missing_node_type", format!("Node '{shown}' not found. The custom node may not be installed."))
        }
    };
    let extra = match version {
        ComfyVersion::V0_3_64 => json!({}),
        ComfyVersion::V0_24_0 => json!({ "node_id": id, "class_type": name, "node_title": title }),
    };
    Err(PromptRefusal::Explained(refusal(kind, &message, &details, &extra, &json!({}))))
}

/// A Python exception in the validation itself.
struct CheckException {
    kind: &'static str,
    message: String,
}

impl CheckException {
    fn key(key: &Value) -> Self {
        Self { kind: "KeyError", message: pyjson::repr(key) }
    }
}

#[derive(Debug, Default)]
struct NodeVerdict {
    valid: bool,
    reasons: Vec<Value>,
}

struct PromptCheck<'a> {
    graph: &'a mut Map<String, Value>,
    choices: &'a ListChoices<'a>,
    version: ComfyVersion,
    verdicts: Vec<(String, NodeVerdict)>,
    index: HashMap<String, usize>,
    /// The nodes whose inputs are being followed, from the output on.
    path: Vec<String>,
}

impl PromptCheck<'_> {
    /// Checks one output with all it depends on.
    fn output(&mut self, id: &str) -> bool {
        self.path.clear();
        match self.node(id) {
            Ok(valid) => valid,
            Err(CheckException { kind, message }) => {
                let extra = json!({ "exception_type": kind, "traceback": [] });
                let reason =
                    reason("exception_during_validation", "Exception when validating node", &message, &extra);
                self.settle(id, false, vec![reason]);
                false
            }
        }
    }

    fn reasons(&self, id: &str) -> &[Value] {
        self.index.get(id).map_or(&[], |&at| &self.verdicts[at].1.reasons)
    }

    fn settle(&mut self, id: &str, valid: bool, reasons: Vec<Value>) {
        let verdict = NodeVerdict { valid, reasons };
        if let Some(&at) = self.index.get(id) {
            self.verdicts[at].1 = verdict;
        } else {
            self.index.insert(id.to_owned(), self.verdicts.len());
            self.verdicts.push((id.to_owned(), verdict));
        }
    }

    /// Adds the faults so far to `node_errors`, as faults of `output`.
    fn explain(&self, output: &str, node_errors: &mut Map<String, Value>) {
        for (id, verdict) in &self.verdicts {
            if verdict.valid || verdict.reasons.is_empty() {
                continue;
            }
            let entry = node_errors.entry(id.clone()).or_insert_with(|| {
                let class = &self.graph[id]["class_type"];
                json!({ "errors": verdict.reasons, "dependent_outputs": [], "class_type": class })
            });
            if let Some(dependent) = entry["dependent_outputs"].as_array_mut() {
                dependent.push(json!(output));
            }
        }
    }

    fn node(&mut self, id: &str) -> Result<bool, CheckException> {
        if let Some(&at) = self.index.get(id) {
            return Ok(self.verdicts[at].1.valid);
        }
        let node = &self.graph[id];
        let class = node["class_type"].as_str().and_then(classes::find);
        let class = class.ok_or_else(|| CheckException::key(&node["class_type"]))?;
        if !node["inputs"].is_object() {
            return Err(CheckException::key(&json!("inputs")));
        }
        self.path.push(id.to_owned());
        let (mut valid, mut reasons) = (true, Vec::new());
        for input in class.inputs {
            let Some(value) = self.graph[id]["inputs"].get(input.name).cloned() else {
                if input.required {
                    let extra = json!({ "input_name": input.name });
                    reasons.push(reason(
                        "required_input_missing",
                        "Required input is missing",
                        input.name,
                        &extra,
                    ));
                }
                continue;
            };
            if let Value::Array(link) = &value {
                valid &= self.link(input, link, &mut reasons)?;
            } else {
                match self.literal(input, &value) {
                    Ok(value) => self.graph[id]["inputs"][input.name] = value,
                    Err(why) => reasons.push(why),
                }
            }
        }
        if reasons.is_empty() {
            reasons.extend(self.picture_missing(class, id));
        }
        self.path.pop();
        valid &= reasons.is_empty();
        // A cycle through this node was settled while its inputs were followed.
        if !self.index.contains_key(id) {
            self.settle(id, valid, reasons);
        }
        Ok(valid)
    }

    /// Follows a link; what is wrong with the link itself goes to `reasons`, else false when its source is bad.
    fn link(
        &mut self,
        input: &ClassInput,
        link: &[Value],
        reasons: &mut Vec<Value>,
    ) -> Result<bool, CheckException> {
        let config = input.config(self.choices);
        let [source, slot] = link else {
            let message = "Bad linked input, must be a length-2 list of [node_id, slot_index]";
            let extra = json!({ "input_name": input.name, "input_config": config, "received_value": link });
            reasons.push(reason("bad_linked_input", message, input.name, &extra));
            return Ok(true);
        };
        let id = source
            .as_str()
            .filter(|id| self.graph.contains_key(*id))
            .ok_or_else(|| CheckException::key(source))?;
        let class = self.graph[id]["class_type"].as_str().and_then(classes::find);
        let received = output_type(class.map_or(&[], |class| class.outputs), slot)?;
        let wanted = input.kind.type_name();
        if wanted != "*" && wanted != received {
            let details = format!("{}, received_type({received}) mismatch input_type({wanted})", input.name);
            let extra = json!({
                "input_name": input.name, "input_config": config, "received_type": received, "linked_node": link,
            });
            let message = "Return type mismatch between linked nodes";
            reasons.push(reason("return_type_mismatch", message, &details, &extra));
            return Ok(true);
        }
        if let Some(start) = self.path.iter().position(|step| step == id) {
            self.cycle(start);
            return Ok(false);
        }
        let depth = self.path.len();
        match self.node(id) {
            Ok(valid) => Ok(valid),
            Err(CheckException { kind, message }) => {
                self.path.truncate(depth);
                let extra = json!({
                    "input_name": input.name, "input_config": config, "exception_message": message,
                    "exception_type": kind, "traceback": [], "linked_node": link,
                });
                let text = "Exception when validating inner node";
                let why = reason("exception_during_inner_validation", text, &message, &extra);
                self.settle(id, false, vec![why]);
                Ok(false)
            }
        }
    }

    /// Settles every node of the cycle that begins at `start` of the path.
    fn cycle(&mut self, start: usize) {
        let nodes = self.path[start..].to_vec();
        let shown: Vec<_> = nodes
            .iter()
            .chain(nodes.first())
            .map(|id| format!("{id} ({})", pyjson::python(&self.graph[id]["class_type"])))
            .collect();
        for id in &nodes {
            let extra = json!({ "node_id": id, "cycle_nodes": nodes });
            let why = reason("dependency_cycle", "Dependency cycle detected", &shown.join(" -> "), &extra);
            // 0.3.64 runs into Python's recursion limit instead, and names nothing.
            let reasons = if self.version == ComfyVersion::V0_24_0 { vec![why] } else { Vec::new() };
            self.settle(id, false, reasons);
        }
    }

    fn literal(&self, input: &ClassInput, value: &Value) -> Result<Value, Value> {
        let with = |more: Value| {
            let mut extra = json!({
                "input_name": input.name, "input_config": input.config(self.choices), "received_value": value,
            });
            if let (Value::Object(extra), Value::Object(more)) = (&mut extra, more) {
                extra.extend(more);
            }
            extra
        };
        if let ClassInputKind::Checkpoint = input.kind
            && !self.choices.installed.checkpoints.iter().any(|name| value == name)
        {
            return Err(not_in_list(input, value, with(json!({}))));
        }
        coerce(input.kind, value).map_err(|refusal| match refusal {
            ValueRefusal::WrongType(why) => {
                let message =
                    format!("Failed to convert an input value to a {} value", input.kind.type_name());
                let details = format!("{}, {}, {why}", input.name, pyjson::python(value));
                reason("invalid_input_type", &message, &details, &with(json!({ "exception_message": why })))
            }
            ValueRefusal::TooSmall(message) => {
                reason("value_smaller_than_min", &message, input.name, &with(json!({})))
            }
            ValueRefusal::TooBig(message) => {
                reason("value_bigger_than_max", &message, input.name, &with(json!({})))
            }
            ValueRefusal::NotInList => not_in_list(input, value, with(json!({}))),
        })
    }

    /// The own check of `LoadImage`: the file must exist.
    fn picture_missing(&self, class: &SimulatedClass, id: &str) -> Option<Value> {
        let input = class.inputs.iter().find(|input| matches!(input.kind, ClassInputKind::Picture))?;
        let name = self.graph[id]["inputs"][input.name].as_str()?;
        if self.choices.files.annotated(name).is_some_and(|path| path.is_file()) {
            return None;
        }
        let details = format!("{} - Invalid image file: {name}", input.name);
        let extra = json!({ "input_name": input.name });
        Some(reason("custom_validation_failed", "Custom validation failed for node", &details, &extra))
    }
}

fn not_in_list(input: &ClassInput, value: &Value, mut extra: Value) -> Value {
    let list = extra["input_config"][0].clone();
    let count = list.as_array().map_or(0, Vec::len);
    // Long lists are not repeated in the answer.
    let shown = if count > 20 {
        extra["input_config"] = Value::Null;
        format!("(list of length {count})")
    } else {
        pyjson::python(&list)
    };
    let details = format!("{}: {} not in {shown}", input.name, pyjson::repr(value));
    reason("value_not_in_list", "Value not in list", &details, &extra)
}

fn reason(kind: &str, message: &str, details: &str, extra: &Value) -> Value {
    json!({ "type": kind, "message": message, "details": details, "extra_info": extra })
}

/// The type at `slot`, counted from the end when negative, as Python does.
fn output_type(outputs: &[&'static str], slot: &Value) -> Result<&'static str, CheckException> {
    let Some(slot) = slot.as_i64() else {
        let type_name = super::coerce::type_name(slot);
        let message = format!("tuple indices must be integers or slices, not {type_name}");
        return Err(CheckException { kind: "TypeError", message });
    };
    output_at(outputs.len(), slot)
        .map(|at| outputs[at])
        .ok_or_else(|| CheckException { kind: "IndexError", message: "tuple index out of range".to_owned() })
}

/// The place a slot number means among `count` outputs.
pub(super) fn output_at(count: usize, slot: i64) -> Option<usize> {
    let count = i64::try_from(count).ok()?;
    let at = if slot < 0 { count + slot } else { slot };
    usize::try_from(at).ok().filter(|_| at < count)
}
