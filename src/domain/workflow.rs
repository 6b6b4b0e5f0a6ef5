//! The API-format graph: nodes, inputs and links, read without losing a byte of the text they came in.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::{WorkflowFault, WorkflowFaults};
use super::json_scan::{JsonLimits, scan};
use super::text::brief;

/// The deepest nesting of arrays and objects that is forwarded; Python's own parser stops not far above.
pub const MAX_DEPTH: usize = 100;

/// One input of a node: its name, and the place of its value in the workflow's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInput {
    /// The input's name.
    pub name: String,
    /// The value's bytes within [`Workflow::text`].
    pub span: Range<usize>,
    /// Whether the value is a link to another node's output.
    pub link: Option<NodeLink>,
}

/// A link: `["node id", slot]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLink {
    /// The node the value comes from.
    pub node_id: String,
}

/// One node of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphNode {
    /// Its key in the workflow.
    pub id: String,
    /// Its ComfyUI class.
    pub class_type: String,
    /// `_meta.title`, where it is text.
    pub title: Option<String>,
    /// Its inputs in order; of a repeated name only the last counts, as in Python.
    pub inputs: Vec<NodeInput>,
    /// The position of the `}` that ends `inputs`, where a new input may be put.
    pub inputs_end: usize,
}

impl GraphNode {
    /// The input of that name.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&NodeInput> {
        self.inputs.iter().find(|input| input.name == name)
    }
}

/// A checked API-format workflow and its exact text.
#[derive(Debug, Clone)]
pub struct Workflow<'a> {
    text: &'a str,
    nodes: Vec<GraphNode>,
    limits: WorkflowLimits,
}

/// The limits of one workflow; there are none by default.
#[derive(Debug, Clone, Copy)]
pub struct WorkflowLimits {
    /// The most nodes.
    pub nodes: usize,
    /// The most parameters that its titles declare.
    pub params: usize,
}

impl Default for WorkflowLimits {
    fn default() -> Self {
        Self { nodes: usize::MAX, params: usize::MAX }
    }
}

/// The most inputs of one node: more than any class has.
const MOST_INPUTS: usize = 4_096;

impl<'a> Workflow<'a> {
    /// Reads and checks a workflow that was accepted before, or is not a caller's.
    ///
    /// # Errors
    /// As [`Workflow::parse_within`].
    pub fn parse(text: &'a str) -> Result<Self, WorkflowFaults> {
        Self::parse_within(text, WorkflowLimits::default())
    }

    /// Reads and checks a workflow.
    ///
    /// # Errors
    /// All faults at once: not an object, empty, the editor's format, too deep, too many nodes, a number that JSON
    /// cannot mean, a node without `class_type` or `inputs`. Links are not followed, for a backend runs a workflow whose
    /// broken links no output depends on: see [`Workflow::link_faults`].
    pub fn parse_within(text: &'a str, limits: WorkflowLimits) -> Result<Self, WorkflowFaults> {
        let whole = JsonLimits { depth: MAX_DEPTH, values: usize::MAX };
        scan(text, whole).map_err(|excess| WorkflowFault::whole(format!("the workflow {excess}")))?;
        let entries = top_level(text, limits.nodes)?;
        let mut faults = WorkflowFaults::default();
        let mut nodes = Vec::with_capacity(entries.len());
        for (id, raw) in &entries {
            match read_node(text, id, raw) {
                Ok(node) => nodes.push(node),
                Err(found) => faults.append(found),
            }
        }
        if faults.is_empty() { Ok(Self { text, nodes, limits }) } else { Err(faults) }
    }

    /// Links to nodes that are not there, and a node whose output comes back to its own input.
    #[must_use]
    pub fn link_faults(&self) -> WorkflowFaults {
        let known: std::collections::HashSet<&str> = self.nodes.iter().map(|node| node.id.as_str()).collect();
        let mut faults = WorkflowFaults::default();
        for node in &self.nodes {
            for input in &node.inputs {
                if let Some(link) = input.link.as_ref().filter(|link| !known.contains(link.node_id.as_str()))
                {
                    faults.push_with(|| {
                        let missing = brief(&link.node_id);
                        let message = format!("links to node {missing:?}, which is not in the workflow");
                        WorkflowFault::at_node(&node.id, &["inputs", &input.name], message)
                    });
                }
            }
        }
        if let Some(node) = find_cycle(&self.nodes) {
            let message = "the node's output comes back to its own input (a cycle)";
            faults.push(WorkflowFault::at_node(&node.id, &[], message));
        }
        faults
    }

    /// The limits it was parsed within.
    #[must_use]
    pub const fn limits(&self) -> WorkflowLimits {
        self.limits
    }

    /// The workflow's exact text.
    #[must_use]
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// Its nodes, in the text's order.
    #[must_use]
    pub fn nodes(&self) -> &[GraphNode] {
        &self.nodes
    }

    /// The raw JSON of an input's value.
    #[must_use]
    pub fn value(&self, input: &NodeInput) -> &'a str {
        &self.text[input.span.clone()]
    }
}

/// An object's entries with their raw values: in order, the last of a repeated key counting, as in Python.
#[derive(Debug)]
pub struct ObjectEntries<'a>(pub Vec<(String, &'a RawValue)>);

/// Why the entries of an object were not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntriesError {
    /// The text is not a JSON object.
    NotAnObject,
    /// The object has more entries than asked for.
    TooMany,
}

impl<'a> ObjectEntries<'a> {
    /// Reads an object of at most `most` entries; reading stops at the first one beyond.
    ///
    /// # Errors
    /// See [`EntriesError`].
    pub fn read(text: &'a str, most: usize) -> Result<Self, EntriesError> {
        let mut beyond = false;
        let mut json = serde_json::Deserializer::from_str(text);
        let entries = AtMost { most, beyond: &mut beyond }.deserialize(&mut json);
        match entries {
            Ok(entries) if json.end().is_ok() => Ok(entries),
            _ if beyond => Err(EntriesError::TooMany),
            _ => Err(EntriesError::NotAnObject),
        }
    }
}

impl<'de> serde::Deserialize<'de> for ObjectEntries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AtMost { most: usize::MAX, beyond: &mut false }.deserialize(deserializer)
    }
}

/// Reads up to so many entries.
struct AtMost<'b> {
    most: usize,
    beyond: &'b mut bool,
}

impl<'de> DeserializeSeed<'de> for AtMost<'_> {
    type Value = ObjectEntries<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AtMost<'_> {
    type Value = ObjectEntries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<(String, &'de RawValue)> = Vec::new();
        let mut places = HashMap::new();
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            if let Some(&place) = places.get(&key) {
                entries[place] = (key, value);
                continue;
            }
            if entries.len() == self.most {
                *self.beyond = true;
                return Err(A::Error::custom("too many entries"));
            }
            places.insert(key.clone(), entries.len());
            entries.push((key, value));
        }
        Ok(ObjectEntries(entries))
    }
}

fn entries(text: &str) -> Option<Vec<(String, &RawValue)>> {
    serde_json::from_str::<ObjectEntries<'_>>(text).ok().map(|ObjectEntries(entries)| entries)
}

fn is_array(raw: &RawValue) -> bool {
    raw.get().starts_with('[')
}

fn top_level(text: &str, most: usize) -> Result<Vec<(String, &RawValue)>, WorkflowFaults> {
    let ObjectEntries(entries) = ObjectEntries::read(text, most).map_err(|error| {
        WorkflowFault::whole(match error {
            EntriesError::NotAnObject => {
                "the workflow must be an object of nodes keyed by their ids, as ComfyUI's \"Export (API)\" makes it"
                    .to_owned()
            }
            EntriesError::TooMany => format!("the workflow has more than {most} nodes (max_nodes)"),
        })
    })?;
    let get = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, raw)| *raw);
    if get("nodes").is_some_and(is_array) {
        return Err(WorkflowFault::whole(
            "this is the editor's own format; in ComfyUI choose Workflow > Export (API) and send that file",
        ));
    }
    if get("prompt").and_then(|raw| self::entries(raw.get())).is_some_and(|inner| !has_class_type(&inner)) {
        return Err(WorkflowFault::whole(
            "this is a whole request to ComfyUI's /prompt; send the value of its `prompt` as the workflow",
        ));
    }
    if entries.is_empty() {
        return Err(WorkflowFault::whole("the workflow has no nodes"));
    }
    Ok(entries)
}

fn has_class_type(entries: &[(String, &RawValue)]) -> bool {
    entries.iter().any(|(key, _)| key == "class_type")
}

fn read_node(text: &str, id: &str, raw: &RawValue) -> Result<GraphNode, WorkflowFaults> {
    let fault = |below: &[&str], message: &str| WorkflowFault::at_node(id, below, message);
    let Some(fields) = entries(raw.get()) else {
        return Err(fault(&[], "a node must be an object with `class_type` and `inputs`").into());
    };
    let get = |key: &str| fields.iter().find(|(name, _)| name == key).map(|(_, raw)| *raw);
    let class_type = get("class_type").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let inputs = get("inputs").map(|raw| (raw, ObjectEntries::read(raw.get(), MOST_INPUTS)));
    let mut faults = WorkflowFaults::default();
    if class_type.as_ref().is_none_or(String::is_empty) {
        faults.push(fault(&["class_type"], "the node has no `class_type`, or it is not a text"));
    }
    match &inputs {
        Some((_, Ok(_))) => {}
        Some((_, Err(EntriesError::TooMany))) => {
            faults.push(fault(&["inputs"], &format!("the node has more than {MOST_INPUTS} inputs")));
        }
        _ => faults.push(fault(&["inputs"], "the node has no `inputs` object")),
    }
    let (Some(class_type), Some((inputs_raw, Ok(ObjectEntries(inputs)))), true) =
        (class_type, inputs, faults.is_empty())
    else {
        return Err(faults);
    };
    let title = get("_meta")
        .and_then(|raw| entries(raw.get()))
        .and_then(|meta| meta.into_iter().find(|(key, _)| key == "title"))
        .and_then(|(_, raw)| serde_json::from_str(raw.get()).ok());
    let inputs = inputs
        .into_iter()
        .map(|(name, raw)| NodeInput { name, span: span(text, raw.get()), link: read_link(raw) })
        .collect();
    Ok(GraphNode {
        id: id.to_owned(),
        class_type,
        title,
        inputs,
        inputs_end: span(text, inputs_raw.get()).end - 1,
    })
}

/// Where `part`, a slice of `whole`, stands in it.
fn span(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

/// ComfyUI takes for a link: a list of two, a text and a number.
fn read_link(raw: &RawValue) -> Option<NodeLink> {
    if !is_array(raw) {
        return None;
    }
    let (node_id, _slot): (String, serde_json::Number) = serde_json::from_str(raw.get()).ok()?;
    Some(NodeLink { node_id })
}

/// A node on a cycle, if there is one: takes away, again and again, the nodes nothing waits for.
fn find_cycle(nodes: &[GraphNode]) -> Option<&GraphNode> {
    let index: HashMap<&str, usize> =
        nodes.iter().enumerate().map(|(at, node)| (node.id.as_str(), at)).collect();
    let sources = |node: &GraphNode| -> Vec<usize> {
        node.inputs
            .iter()
            .filter_map(|input| index.get(input.link.as_ref()?.node_id.as_str()).copied())
            .collect()
    };
    let mut consumers = vec![0usize; nodes.len()];
    for source in nodes.iter().flat_map(sources) {
        consumers[source] += 1;
    }
    let mut free: Vec<usize> = (0..nodes.len()).filter(|&at| consumers[at] == 0).collect();
    while let Some(at) = free.pop() {
        for source in sources(&nodes[at]) {
            consumers[source] -= 1;
            if consumers[source] == 0 {
                free.push(source);
            }
        }
    }
    // What is left waits for a cycle or lies on one; following the sources leads onto it.
    let mut at = consumers.iter().position(|&count| count > 0)?;
    for _ in 0..nodes.len() {
        at = sources(&nodes[at]).into_iter().find(|&source| consumers[source] > 0)?;
    }
    nodes.get(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(String, String)> {
        let found = Workflow::parse(text).map_or_else(|faults| faults, |workflow| workflow.link_faults());
        found.into_iter().map(|fault| (fault.pointer, fault.message)).collect()
    }

    #[test]
    fn a_graph_is_read_with_titles_links_and_exact_values() {
        let text = r#"{ "3":{"inputs":{"seed": 18446744073709551615,"model":["4",0], "cfg":1.50},"class_type":"KSampler",
            "_meta":{"title":"$seed"}},"4":{"class_type":"Loader","inputs":{}}}"#;
        let workflow = Workflow::parse(text).unwrap();
        let sampler = &workflow.nodes()[0];
        assert_eq!(sampler.title.as_deref(), Some("$seed"));
        assert_eq!(workflow.value(sampler.input("seed").unwrap()), "18446744073709551615");
        assert_eq!(workflow.value(sampler.input("cfg").unwrap()), "1.50");
        assert_eq!(sampler.input("model").unwrap().link.as_ref().unwrap().node_id, "4");
        assert_eq!(&text[sampler.inputs_end..=sampler.inputs_end], "}");
    }

    #[test]
    fn of_a_repeated_key_the_last_counts_as_in_python() {
        let workflow = Workflow::parse(
            r#"{"1":{"class_type":"A","inputs":{"x":1,"x":2}},"1":{"class_type":"B","inputs":{"y":3}}}"#,
        )
        .unwrap();
        assert_eq!(workflow.nodes().len(), 1);
        assert_eq!(workflow.nodes()[0].class_type, "B");
    }

    #[test]
    fn what_is_no_graph_is_told_from_what_is_the_wrong_export() {
        for text in ["[]", "null", "3", "\"x\""] {
            assert!(faults(text)[0].1.contains("object of nodes"), "{text}");
        }
        assert_eq!(faults("{}")[0].1, "the workflow has no nodes");
        assert!(faults(r#"{"nodes":[],"links":[],"version":0.4}"#)[0].1.contains("Export (API)"));
        assert!(
            faults(r#"{"prompt":{"1":{"class_type":"A","inputs":{}}},"client_id":"x"}"#)[0]
                .1
                .contains("value of its `prompt`")
        );
        assert!(Workflow::parse(r#"{"prompt":{"class_type":"A","inputs":{}}}"#).is_ok());
    }

    #[test]
    fn all_faults_of_all_nodes_are_told_at_once() {
        let found = faults(r#"{"1":3,"2":{"inputs":[]},"a/b":{"class_type":"A"}}"#);
        let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/1", "/2/class_type", "/2/inputs", "/a~1b/inputs"]);
        let found = faults(r#"{"a/b":{"class_type":"A","inputs":{"x":["9",0],"y":["8",1]}}}"#);
        let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/a~1b/inputs/x", "/a~1b/inputs/y"]);
    }

    #[test]
    fn lists_that_are_no_links_are_values() {
        for value in ["[1,2]", r#"["a","b"]"#, r#"["a",0,1]"#, "[]"] {
            let text = format!(r#"{{"1":{{"class_type":"A","inputs":{{"x":{value}}}}}}}"#);
            let workflow = Workflow::parse(&text).unwrap();
            assert_eq!(workflow.nodes()[0].inputs[0].link, None, "{value}");
        }
    }

    #[test]
    fn a_cycle_is_found_and_named_by_a_node_on_it() {
        let text = r#"{"0":{"class_type":"A","inputs":{"x":["1",0]}},"1":{"class_type":"A","inputs":{"x":["2",0]}},
            "2":{"class_type":"A","inputs":{"x":["1",0]}},"3":{"class_type":"A","inputs":{}}}"#;
        let found = faults(text);
        assert_eq!(found.len(), 1);
        assert!(["/1", "/2"].contains(&found[0].0.as_str()) && found[0].1.contains("cycle"), "{found:?}");
        let own = r#"{"7":{"class_type":"A","inputs":{"x":["7",0]}}}"#;
        assert_eq!(faults(own)[0].0, "/7");
    }

    #[test]
    fn depth_is_limited_and_brackets_in_texts_do_not_count() {
        let nested = |depth: usize| {
            format!(
                r#"{{"1":{{"class_type":"A","inputs":{{"x":{}{}}}}}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        assert!(Workflow::parse(&nested(MAX_DEPTH - 3)).is_ok());
        assert!(faults(&nested(MAX_DEPTH - 2))[0].1.contains("deeper than 100"));
        let text = format!(r#"{{"1":{{"class_type":"A","inputs":{{"x":"\"{}"}}}}}}"#, "[".repeat(500));
        assert!(Workflow::parse(&text).is_ok());
    }
}
