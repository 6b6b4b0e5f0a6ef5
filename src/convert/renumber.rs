//! Gives nodes inside subgraphs the ids the editor gives them when it loads a file.

use std::collections::HashSet;

use super::graph::EditorGraph;

/// The editor wants every whole-number id once in the whole file. Ids inside subgraphs that are already taken
/// become the next free ones.
pub(super) fn renumber(graphs: &mut [EditorGraph<'_>], last_node_id: i64) {
    let number = |id: &str| id.parse::<i64>().ok();
    let Some((root, definitions)) = graphs.split_first_mut() else { return };
    let mut used: HashSet<i64> = root.nodes.iter().filter_map(|node| number(&node.id)).collect();
    let mut last = used.iter().copied().fold(last_node_id, i64::max);
    for node in definitions.iter_mut().flat_map(|graph| &mut graph.nodes) {
        let Some(mut id) = number(&node.id) else { continue };
        if used.contains(&id) {
            id = last.saturating_add(1);
            while used.contains(&id) && id < i64::MAX {
                id += 1;
            }
            node.path_id = id.to_string().into();
        }
        used.insert(id);
        last = last.max(id);
    }
}
