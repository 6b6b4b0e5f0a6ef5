//! Editor files compared with the output of the official frontend: the reduced set in `tests/fixtures/editor`
//! and, on request, a whole corpus in the folder that `EDITOR_CORPUS` names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use comfy_gateway::convert::{ConversionResult, ConvertFault, convert};
use comfy_gateway::domain::object_info::ObjectInfo;
use serde_json::Value;

type Graph = BTreeMap<String, Value>;

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn graph(text: &str) -> Graph {
    serde_json::from_str(text).unwrap()
}

fn converted(text: &str, info: &ObjectInfo) -> Result<ConversionResult, Vec<ConvertFault>> {
    let now = jiff::civil::date(2026, 11, 22).at(12, 0, 0, 0);
    convert(text, info, now, &mut |_| 0)
}

/// Numbers are equal by their value: `8.0` is `8`, and whole numbers must be equal to the last digit unless the
/// frontend itself rounded them to a double.
fn equal(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => {
            ours == theirs || ours.as_f64().is_some_and(|ours| Some(ours) == theirs.as_f64())
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| equal(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, ours)| theirs.get(key).is_some_and(|theirs| equal(ours, theirs)))
        }
        _ => ours == theirs,
    }
}

/// Every difference between two graphs, apart from the `volatile` inputs and the player that no server needs.
fn differences(ours: &Graph, theirs: &Graph, volatile: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for id in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let (Some(our), Some(their)) = (ours.get(id), theirs.get(id)) else {
            found.push(format!("{id}: only {}", if ours.contains_key(id) { "ours" } else { "theirs" }));
            continue;
        };
        for part in ["class_type", "_meta"] {
            let title =
                |node: &Value| if part == "_meta" { node[part]["title"].clone() } else { node[part].clone() };
            if !equal(&title(our), &title(their)) {
                found.push(format!("{id}.{part}: {} / {}", title(our), title(their)));
            }
        }
        let empty = serde_json::Map::new();
        let inputs = |node: &Value| node["inputs"].as_object().unwrap_or(&empty).clone();
        let (our, their) = (inputs(our), inputs(their));
        for input in our.keys().chain(their.keys()).collect::<BTreeSet<_>>() {
            let ignored = input == "audioUI" || volatile.contains(&format!("{id}.{input}"));
            let same = match (our.get(input), their.get(input)) {
                (Some(our), Some(their)) => equal(our, their),
                _ => false,
            };
            if !ignored && !same {
                let show = |value: Option<&Value>| {
                    value.map_or("-".to_owned(), |value| value.to_string().chars().take(80).collect())
                };
                found.push(format!("{id}.{input}: {} / {}", show(our.get(input)), show(their.get(input))));
            }
        }
    }
    found
}

/// The result of one pair.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Equal,
    /// Equal to the output of the newer frontend only.
    EqualToNewer,
    Refused(Vec<String>),
    Different(Vec<String>),
}

fn outcome(folder: &Path, name: &str, info: &ObjectInfo, volatile: &BTreeSet<String>) -> Outcome {
    let text = read(&folder.join(format!("{name}.editor.json"))).unwrap();
    let converted = match converted(&text, info) {
        Ok(converted) => graph(&converted.graph),
        Err(faults) => {
            let told = faults.into_iter().map(|fault| format!("{:?} {}", fault.node_id, fault.message));
            return Outcome::Refused(told.collect());
        }
    };
    let oracle = |ending: &str| {
        let theirs = graph(&read(&folder.join(format!("{name}.{ending}.json")))?);
        Some(differences(&converted, &theirs, volatile))
    };
    let (older, newer) = (oracle("api"), oracle("api-1.58"));
    match (older, newer) {
        (Some(older), _) if older.is_empty() => Outcome::Equal,
        (_, Some(newer)) if newer.iter().all(|line| line.contains("._meta:")) => Outcome::EqualToNewer,
        (Some(older), _) => Outcome::Different(older),
        (None, newer) => Outcome::Different(newer.unwrap_or(vec!["the frontend itself fails".to_owned()])),
    }
}

fn pairs(folder: &Path) -> Vec<(String, BTreeSet<String>)> {
    let index = read(&folder.join("index.jsonl")).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let volatile = line["volatile"].as_array().into_iter().flatten();
        let volatile = volatile.filter_map(|input| input.as_str().map(str::to_owned)).collect();
        (line["name"].as_str().unwrap().to_owned(), volatile)
    };
    index.lines().map(line).collect()
}

#[test]
#[ignore = "needs a corpus: EDITOR_CORPUS=<folder with object_info.json and pairs/>"]
fn the_whole_corpus_is_scored() {
    let folder = PathBuf::from(std::env::var_os("EDITOR_CORPUS").unwrap());
    let info = ObjectInfo::parse(&read(&folder.join("object_info.json")).unwrap()).unwrap();
    let pairs = pairs(&folder.join("pairs"));
    let (mut equal, mut newer, mut refused, mut different) = (0, 0, 0, 0);
    for (name, volatile) in &pairs {
        match outcome(&folder.join("pairs"), name, &info, volatile) {
            Outcome::Equal => equal += 1,
            Outcome::EqualToNewer => {
                println!("newer     {name}");
                newer += 1;
            }
            Outcome::Refused(reasons) => {
                println!("refused   {name}: {}", reasons.join(" | "));
                refused += 1;
            }
            Outcome::Different(found) => {
                let more = found.len().saturating_sub(8);
                println!("different {name} (+{more}):\n    {}", found[..found.len() - more].join("\n    "));
                different += 1;
            }
        }
    }
    println!(
        "{} pairs: {equal} equal, {newer} equal to the newer frontend, {refused} refused, {different} different",
        pairs.len()
    );
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/editor")
}

fn fixture_info() -> ObjectInfo {
    ObjectInfo::parse(&read(&fixtures().join("object_info.json")).unwrap()).unwrap()
}

fn fixture_names() -> Vec<String> {
    let files = std::fs::read_dir(fixtures()).unwrap().flatten();
    let mut names: Vec<String> = files
        .filter_map(|file| file.file_name().to_str()?.strip_suffix(".editor.json").map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[test]
fn the_trickiest_files_become_what_the_editor_makes_of_them() {
    let info = fixture_info();
    let names = fixture_names();
    assert!(names.len() >= 30, "only {} files", names.len());
    for name in names {
        let found = outcome(&fixtures(), &name, &info, &BTreeSet::new());
        assert_eq!(found, Outcome::Equal, "{name}");
    }
}

#[test]
fn whole_numbers_stay_exact_where_the_editor_rounds_them() {
    let text = read(&fixtures().join("case-big-seeds.editor.json")).unwrap();
    let graph = converted(&text, &fixture_info()).unwrap().graph;
    assert!(graph.contains("18446744073709551615"), "{graph}");
}
