//! Turns the file that the ComfyUI editor saves (`nodes`, `links`, `widgets_values`, subgraphs) into the
//! graph that ComfyUI's `/prompt` takes. Pure: no I/O, no clock, no randomness of its own.
//!
//! Source of the rules: the output of the official frontends 1.45.15 and 1.58.1 for several hundred files.
//! Where the two disagree, `docs/CONVERSION.md` says which rule applies.

mod bypass;
mod emit;
mod extras;
mod finish;
mod frames;
mod graph;
mod group;
mod instance;
mod linked;
mod model;
mod parts;
mod prefix;
mod prompt;
mod read;
mod renumber;
mod report;
mod resolve;
mod saved_values;
mod slots;
mod widgets;

use std::collections::HashMap;

use jiff::civil::DateTime;

use self::emit::{ConversionContext, GraphEmitter};
use self::model::{NodeRole, ParsedFile};
use self::report::ConversionReport;
pub use self::report::{ConversionWarning, ConvertFault};
use self::resolve::{KnownNode, LinkResolver};
use crate::domain::fields::JsonFields;
use crate::domain::json_scan::is_deeper_than;
use crate::domain::object_info::NodeClasses;
use crate::domain::workflow::MAX_DEPTH;

/// The result of a conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversionResult {
    /// The API graph as JSON text, its numbers exactly as they were saved.
    pub graph: String,
    /// Possible deviations from the author's intent.
    pub warnings: Vec<ConversionWarning>,
}

/// Whether a workflow is in the editor's format: an object with a list of `nodes`.
#[must_use]
pub fn is_editor_format(text: &str) -> bool {
    JsonFields::parse(text).and_then(|fields| fields.raw("nodes")).is_some_and(|nodes| nodes.starts_with('['))
}

/// Converts a file with the node `classes` of one or several backends.
///
/// `now` is the local time for `%date:…%` in the prefixes of file names. `draw` receives the number of
/// choices of a `{a
/// b}` in a prompt and returns the index of one of them.
///
/// # Errors
/// All faults at once, each with its node: classes that no backend has, links that lead nowhere or in a
/// circle, subgraphs that contain themselves, and files with too many nodes.
pub fn convert(
    text: &str,
    classes: &dyn NodeClasses,
    now: DateTime,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Result<ConversionResult, Vec<ConvertFault>> {
    let mut report = ConversionReport::default();
    let graph = if is_deeper_than(text, MAX_DEPTH) {
        report.fault(format!("the workflow is nested deeper than {MAX_DEPTH} levels"));
        None
    } else if is_editor_format(text) {
        graph(text, ConversionContext { classes, now, draw }, &mut report)
    } else {
        report.fault("this is not the editor's format: it has no list of `nodes`");
        None
    };
    let (faults, warnings) = report.into_parts();
    match graph {
        Some(graph) if faults.is_empty() => Ok(ConversionResult { graph, warnings }),
        _ => Err(faults),
    }
}

fn graph(text: &str, around: ConversionContext<'_>, report: &mut ConversionReport) -> Option<String> {
    let (mut document, extra) = read::document(text, report);
    renumber::renumber(&mut document.graphs, extra.last_node_id);
    group::rewrite(&mut document, extra.group_nodes.as_ref(), around.classes, report);
    let frames = frames::unfold(&document, report);
    if report.has_faults() {
        return None;
    }
    let known = look_up(&document, around.classes);
    let resolver = LinkResolver::new(&document, frames, known);
    let mut emitter = GraphEmitter { resolver, around, report, names: None, hints: HashMap::new() };
    Some(emitter.graph())
}

/// The class and fields of every node of every graph.
fn look_up<'c, 'a>(document: &ParsedFile<'a>, classes: &'c dyn NodeClasses) -> Vec<Vec<KnownNode<'c, 'a>>> {
    let graph = |graph: &graph::EditorGraph<'a>| {
        let node = |node: &model::EditorNode<'a>| {
            let class = if node.role == NodeRole::Plain { classes.class(&node.class) } else { None };
            KnownNode { class, fields: class.map(|class| widgets::assign(class, &node.values)) }
        };
        graph.nodes.iter().map(node).collect()
    };
    document.graphs.iter().map(graph).collect()
}
