//! The subgraph instances of a file, one frame each, with the values their callers give them.

use std::collections::HashMap;

use super::instance::instance;
use super::model::{EditorNode, NodeMode, NodeRole, ParsedFile};
use super::report::{ConversionReport, NodePlace};

/// The deepest nesting of subgraphs.
pub(super) const MAX_LEVELS: usize = 256;
/// The most nodes after all subgraphs are unfolded.
pub(super) const MAX_NODES: usize = 20_000;
/// The most values that all instances may give together.
const MAX_VALUES: usize = 500_000;
/// The longest path of a node's id, in bytes.
const MAX_PATH: usize = 4096;

/// The file's own graph, or one instance of a subgraph.
#[derive(Debug, Default)]
pub(super) struct GraphFrame<'a> {
    /// Its graph, in `ParsedFile::graphs`.
    pub(super) graph: usize,
    /// The frame and node of the instance that contains it.
    pub(super) parent: Option<(usize, usize)>,
    /// The prefix of its nodes' ids, as in `10:3:`.
    pub(super) path: String,
    pub(super) level: usize,
    /// The frames of the instances in it that run, by their nodes.
    pub(super) children: HashMap<usize, usize>,
    /// Values its instance gives to its inputs, by port.
    pub(super) port_values: HashMap<usize, &'a str>,
    /// Values its instance gives to fields of its nodes, by node and name.
    pub(super) field_values: HashMap<usize, HashMap<String, &'a str>>,
}

/// Unfolds all instances that run. A muted or bypassed instance at the top takes everything inside with it.
pub(super) fn unfold<'a>(document: &ParsedFile<'a>, report: &mut ConversionReport) -> Vec<GraphFrame<'a>> {
    let mut frames = vec![GraphFrame::default()];
    let (mut nodes, mut values) = (document.graphs[0].nodes.len(), 0);
    let mut next = 0;
    while next < frames.len() {
        let graph = &document.graphs[frames[next].graph];
        for (at, node) in graph.nodes.iter().enumerate() {
            let (NodeRole::Subgraph(inner), true) = (node.role, graph.counts(at)) else { continue };
            // Within a subgraph, a mode only cuts or passes what the instance gives, as in the editor.
            if next == 0 && node.mode != NodeMode::Active {
                continue;
            }
            if let Some(message) = too_deep(document, &frames, next, inner) {
                report.fault_at(place(&frames[next], node), message);
                continue;
            }
            nodes += document.graphs[inner].nodes.len().max(1);
            values += node.inputs.len() + document.graphs[inner].inputs.len();
            values += node.proxies.as_ref().map_or(0, Vec::len);
            values += frames[next].field_values.get(&at).map_or(0, HashMap::len);
            if nodes > MAX_NODES || values > MAX_VALUES {
                break;
            }
            let frame = instance(&frames[next], (next, at), node, &document.graphs[inner], inner);
            let child = frames.len();
            frames[next].children.insert(at, child);
            frames.push(frame);
        }
        if nodes > MAX_NODES {
            report.fault(format!("with all subgraphs unfolded the workflow has more than {MAX_NODES} nodes"));
            break;
        }
        if values > MAX_VALUES {
            report.fault(format!("the workflow's subgraphs have more than {MAX_VALUES} inputs and values"));
            break;
        }
        next += 1;
    }
    frames
}

fn place(frame: &GraphFrame<'_>, node: &EditorNode<'_>) -> NodePlace {
    let title = node.title.and_then(crate::domain::fields::text).unwrap_or_default();
    NodePlace::new(&format!("{}{}", frame.path, node.path_id), &title, &node.class)
}

fn too_deep(
    document: &ParsedFile<'_>,
    frames: &[GraphFrame<'_>],
    frame: usize,
    inner: usize,
) -> Option<String> {
    let name = &document.graphs[inner].name;
    if frames[frame].level == MAX_LEVELS {
        return Some(format!("the subgraph {name:?} lies deeper than {MAX_LEVELS} levels"));
    }
    if frames[frame].path.len() > MAX_PATH {
        return Some(format!("the ids of the nodes around it are longer than {MAX_PATH} bytes"));
    }
    let mut around = Some(frame);
    while let Some(frame) = around {
        if frames[frame].graph == inner {
            return Some(format!("the subgraph {name:?} contains itself"));
        }
        around = frames[frame].parent.map(|(parent, _)| parent);
    }
    None
}
