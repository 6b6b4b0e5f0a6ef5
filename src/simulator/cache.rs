//! Node results kept from one job to the next, by class and inputs. As in ComfyUI's classic cache, an entry
//! stays only while every job uses it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::files::ServerFolders;
use super::nodes::LinkData;

use crate::lock::LockExt;

/// The hash of a class and its inputs, with everything upstream of them. `None` means that it never matches.
pub(super) type CacheKey = Option<[u8; 32]>;

/// The result of a node.
#[derive(Debug, Clone)]
pub(super) struct CacheEntry {
    pub(super) outputs: Vec<LinkData>,
    /// Its `ui` output, if it has one.
    pub(super) ui: Option<Value>,
    /// The `meta` of the run that made it, which may name other node ids.
    pub(super) meta: Value,
}

/// The kept results of one life of the server.
#[derive(Debug, Default)]
pub(super) struct NodeCache(Mutex<HashMap<[u8; 32], Arc<CacheEntry>>>);

impl NodeCache {
    /// Drops the entries that this job does not use, and returns the others.
    pub(super) fn begin(&self, keys: &HashMap<String, CacheKey>) -> HashMap<String, Arc<CacheEntry>> {
        let mut entries = self.0.lock_anyway();
        let used: HashSet<_> = keys.values().flatten().collect();
        entries.retain(|key, _| used.contains(key));
        let found =
            keys.iter().filter_map(|(id, key)| Some((id.clone(), Arc::clone(entries.get(&(*key)?)?))));
        found.collect()
    }

    pub(super) fn keep(&self, key: CacheKey, entry: &Arc<CacheEntry>) {
        if let Some(key) = key {
            self.0.lock_anyway().insert(key, Arc::clone(entry));
        }
    }

    pub(super) fn clear(&self) {
        self.0.lock_anyway().clear();
    }
}

/// The keys of all nodes of a graph. `_meta` does not count.
pub(super) fn keys(graph: &Map<String, Value>, files: &ServerFolders) -> HashMap<String, CacheKey> {
    let mut keys = HashMap::new();
    for id in graph.keys() {
        key_of(id, graph, files, &mut keys);
    }
    keys
}

fn key_of(
    id: &str,
    graph: &Map<String, Value>,
    files: &ServerFolders,
    keys: &mut HashMap<String, CacheKey>,
) -> CacheKey {
    if let Some(key) = keys.get(id) {
        return *key;
    }
    // A node that is reached again through a cycle never matches.
    keys.insert(id.to_owned(), None);
    let key = compute(id, graph, files, keys);
    keys.insert(id.to_owned(), key);
    key
}

fn compute(
    id: &str,
    graph: &Map<String, Value>,
    files: &ServerFolders,
    keys: &mut HashMap<String, CacheKey>,
) -> CacheKey {
    let node = &graph.get(id)?;
    let class = node["class_type"].as_str()?;
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    };
    add(class.as_bytes());
    match class {
        "SimHold" => return None,
        // The class takes its own id as a hidden input.
        "LabSleep" => add(id.as_bytes()),
        "LoadImage" => {
            let path = files.annotated(node["inputs"]["image"].as_str()?)?;
            add(&Sha256::digest(std::fs::read(path).ok()?));
        }
        _ => {}
    }
    let mut inputs: Vec<_> = node["inputs"].as_object()?.iter().collect();
    inputs.sort_by_key(|(name, _)| *name);
    for (name, value) in inputs {
        add(name.as_bytes());
        match link(value) {
            Some((source, slot)) => {
                add(&key_of(source, graph, files, keys)?);
                add(&slot.to_le_bytes());
            }
            None => add(value.to_string().as_bytes()),
        }
    }
    Some(digest.finalize().into())
}

/// The node and slot that a value links to, if it is a link.
pub(super) fn link(value: &Value) -> Option<(&str, i64)> {
    let [source, slot] = value.as_array()?.as_slice() else { return None };
    Some((source.as_str()?, slot.as_i64()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn graph(color: u32, title: &str, image: &str) -> Map<String, Value> {
        let Value::Object(graph) = json!({
            image: { "class_type": "EmptyImage", "inputs": { "color": color } },
            "9": { "class_type": "SaveImage", "inputs": { "images": [image, 0] }, "_meta": { "title": title } },
        }) else {
            panic!("an object")
        };
        graph
    }

    #[test]
    fn a_key_follows_from_class_and_inputs_alone() {
        let files = ServerFolders::open(None).unwrap();
        let first = keys(&graph(1, "a", "1"), &files);
        assert_eq!(first["9"], keys(&graph(1, "b", "77"), &files)["9"]);
        assert_ne!(first["9"], keys(&graph(2, "a", "1"), &files)["9"]);
    }

    #[test]
    fn an_entry_stays_only_while_every_job_uses_it() {
        let files = ServerFolders::open(None).unwrap();
        let cache = NodeCache::default();
        let entry = Arc::new(CacheEntry { outputs: vec![], ui: None, meta: Value::Null });
        let (one, two) = (keys(&graph(1, "", "1"), &files), keys(&graph(2, "", "1"), &files));
        cache.keep(one["9"], &entry);
        assert_eq!(cache.begin(&one).len(), 1);
        assert_eq!(cache.begin(&two).len(), 0);
        assert_eq!(cache.begin(&one).len(), 0);
    }

    #[test]
    fn a_cycle_ends_and_is_never_cached() {
        let files = ServerFolders::open(None).unwrap();
        let Value::Object(graph) = json!({
            "1": { "class_type": "ImageInvert", "inputs": { "image": ["2", 0] } },
            "2": { "class_type": "ImageInvert", "inputs": { "image": ["1", 0] } },
        }) else {
            panic!("an object")
        };
        assert_eq!(keys(&graph, &files)["1"], None);
    }
}
