//! The check of workflows against the word of a real ComfyUI, on request: `CHECK_COMFYUI` is its URL,
//! `CHECK_CORPUS` the folders, separated by colons, with graphs (`*.api.json`) and recorded traffic
//! (`*.jsonl`), `CHECK_MUTANTS` how many damaged copies of each graph are tried besides. What the server
//! accepts is cancelled at once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at once")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use comfy_gateway::domain::object_info::ObjectInfo;
use comfy_gateway::domain::validation::{GraphFaults, SuppliedInputs, check};
use comfy_gateway::domain::workflow::Workflow;
use serde_json::{Value, json};

/// `node kind input`; the input is left out where the server's word does not name one.
type Words = BTreeSet<String>;

struct Server {
    http: reqwest::Client,
    url: String,
    info: ObjectInfo,
    inputs: BTreeMap<String, Vec<String>>,
    replaced: Vec<String>,
    expands: bool,
}

/// What the server said to a graph.
enum Word {
    Accepted,
    /// Some outputs are run.
    Partly(Words),
    Refused(Words),
    /// It failed (500).
    Failed,
}

impl Server {
    async fn new(url: String) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let get =
            async |path: &str| http.get(format!("{url}{path}")).send().await.unwrap().text().await.unwrap();
        let text = get("/object_info").await;
        let names = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
        let classes: Value = serde_json::from_str(&text).unwrap();
        let inputs = classes.as_object().unwrap().iter().map(|(class, said)| {
            let group = |group: &str| names(&said["input"][group]).unwrap_or_default();
            (class.clone(), [group("required"), group("optional")].concat())
        });
        let replaced = serde_json::from_str::<Value>(&get("/node_replacements").await).ok();
        let stats: Value = serde_json::from_str(&get("/system_stats").await).unwrap();
        let expands = !stats["system"]["comfyui_version"].as_str().unwrap().starts_with("0.3.");
        let replaced = replaced.as_ref().and_then(names).unwrap_or_default();
        Self {
            info: ObjectInfo::parse(&text).unwrap(),
            inputs: inputs.collect(),
            replaced,
            expands,
            http,
            url,
        }
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = serde_json::to_string(body).unwrap();
        let request =
            self.http.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        let response = request.body(body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    async fn ask(&self, graph: &Value) -> Word {
        let (status, answer) = self.post("/prompt", &json!({"prompt": graph})).await;
        let mut words = Words::new();
        if let Some(nodes) = answer["node_errors"].as_object() {
            for (id, node) in nodes {
                for error in node["errors"].as_array().unwrap() {
                    let input = error["extra_info"]["input_name"].as_str().unwrap_or("");
                    words.insert(format!("{id} {} {input}", error["type"].as_str().unwrap()));
                }
            }
        }
        match status {
            200 => {
                self.post("/queue", &json!({"clear": true})).await;
                self.post("/interrupt", &json!({})).await;
                if words.is_empty() { Word::Accepted } else { Word::Partly(words) }
            }
            400 => {
                let kind = answer["error"]["type"].as_str().unwrap();
                if words.is_empty() {
                    words.insert(format!("- {kind} -"));
                }
                Word::Refused(words)
            }
            _ => Word::Failed,
        }
    }

    /// Our word on a graph, or why it is not even read.
    fn check(&self, text: &str) -> Result<GraphFaults, String> {
        let replaced: Vec<&str> = self.replaced.iter().map(String::as_str).collect();
        let workflow = Workflow::parse(text).map_err(|faults| faults[0].message.clone())?;
        Ok(check(
            &workflow,
            &self.info,
            SuppliedInputs { supplied: &[], replaced: &replaced, expands: self.expands },
        ))
    }
}

/// The differences of one kind: how many, and the first few.
#[derive(Default)]
struct Report(BTreeMap<&'static str, Vec<String>>);

impl Report {
    fn note(&mut self, kind: &'static str, what: String) {
        self.0.entry(kind).or_default().push(what);
    }
}

fn of_ours(faults: &GraphFaults, only_certain: bool) -> Words {
    let words = faults.nodes.iter().flat_map(|node| {
        node.faults.iter().filter(|fault| fault.certain || !only_certain).map(|fault| {
            format!("{} {} {}", node.node_id, fault.kind.as_str(), fault.input.as_deref().unwrap_or(""))
        })
    });
    words.collect()
}

/// Nodes that the server gave up with an exception: what else is wrong with them it does not say.
fn broken(words: &Words) -> BTreeSet<&str> {
    let broken =
        words.iter().filter(|word| word.contains("exception_during") || word.contains("dependency_cycle"));
    broken.map(|word| word.split(' ').next().unwrap()).collect()
}

/// Whether a class's own check is among what was said: of most, whether a file is there.
fn is_own(words: &Words) -> bool {
    words
        .iter()
        .any(|word| word.contains("custom_validation_failed") || word.contains("inner_validation image"))
}

fn compare(report: &mut Report, name: &str, ours: Result<&GraphFaults, &String>, word: &Word) {
    let ours = match ours {
        Ok(ours) => ours,
        Err(why) => {
            let kind = match word {
                Word::Accepted => "not read but accepted",
                Word::Partly(_) => "not read but accepted in part",
                Word::Refused(_) | Word::Failed => {
                    return report.note("both refuse (not read)", String::new());
                }
            };
            return report.note(kind, format!("{name}: {why}"));
        }
    };
    let found = of_ours(ours, false);
    match word {
        Word::Accepted | Word::Partly(_) if ours.refused => {
            report.note("REFUSED BUT ACCEPTED", format!("{name}: {found:?}"));
        }
        Word::Accepted if found.is_empty() => report.note("both accept", String::new()),
        Word::Accepted => report.note("accepted with our doubts", format!("{name}: {found:?}")),
        Word::Failed => report.note("the server fails", format!("{name}: {found:?}")),
        Word::Refused(words) if !ours.refused => {
            let kind = match () {
                () if is_own(words) => "refused by a class's own check",
                () if !found.is_empty() => "refused as we doubted",
                () => "refused unforeseen",
            };
            report.note(kind, format!("{name}: {words:?} / {found:?}"));
        }
        Word::Refused(words) if words.iter().any(|word| word.starts_with("- ")) => {
            report.note("both refuse the whole", name.to_owned());
        }
        Word::Partly(words) | Word::Refused(words) => {
            let broken = broken(words);
            let clear = |word: &&String| !broken.contains(word.split(' ').next().unwrap());
            let unforeseen: Vec<_> = words.difference(&found).filter(clear).collect();
            let certain = of_ours(ours, true);
            let invented: Vec<_> = certain.difference(words).filter(clear).collect();
            let kind = match (unforeseen.as_slice(), invented.as_slice()) {
                (_, [_, ..]) if !broken.is_empty() => "the server gave up before it saw all of our faults",
                (_, [_, ..]) => "FAULTS ONLY OURS",
                ([], []) => "the same faults",
                _ if unforeseen.iter().all(|word| word.contains("custom_validation_failed")) => {
                    return report.note("the same faults, and those of a class's own check", String::new());
                }
                _ => "faults unforeseen",
            };
            let detail = format!("{name}: {unforeseen:?} / {invented:?}");
            report.note(
                kind,
                if kind == "the same faults" || !broken.is_empty() { String::new() } else { detail },
            );
        }
    }
}

/// A small generator of numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most.max(1)
    }
}

/// Damages one to three inputs of a graph.
fn damage(graph: &Value, server: &Server, dice: &mut Dice) -> Value {
    let mut graph = graph.clone();
    let ids: Vec<String> = graph.as_object().unwrap().keys().cloned().collect();
    if ids.is_empty() {
        return graph;
    }
    for _ in 0..=dice.below(3) {
        let id = &ids[dice.below(ids.len())];
        let other = ids[dice.below(ids.len())].clone();
        let Some(class) = graph[id]["class_type"].as_str() else { continue };
        let mut names = server.inputs.get(class).cloned().unwrap_or_default();
        let Some(inputs) = graph[id]["inputs"].as_object_mut() else { continue };
        names.extend(inputs.keys().cloned());
        if names.is_empty() {
            continue;
        }
        let name = names[dice.below(names.len())].clone();
        let values = [
            json!("12"),
            json!(12.7),
            json!(-1),
            json!(1e9),
            json!(99_999_999_999_999_u64),
            json!(null),
            json!("abc"),
            json!(true),
            json!({}),
            json!({"__value__": ["a", "b"]}),
            json!({"__value__": 3}),
            json!([other, 0]),
            json!([other, 1]),
            json!([other, -1]),
            json!([other, 7]),
            json!([other, true]),
            json!([other, 0.0]),
            json!([other, "0"]),
            json!([1, 2, 3]),
            json!([1, 2]),
            json!([]),
            json!("None"),
            json!(" 7 "),
            json!("1_0"),
            json!("nan"),
            json!("1e3"),
            json!("euler"),
            json!(""),
            json!(0),
            json!(1),
        ];
        match dice.below(values.len() + 4) {
            at if at < values.len() => {
                inputs.insert(name, values[at].clone());
            }
            _ => {
                inputs.remove(&name);
            }
        }
    }
    graph
}

/// Takes away nodes of classes that the server does not have, and links to them, for else it would say no more than
/// that.
fn known(graph: &Value, server: &Server) -> Value {
    let mut graph = graph.clone();
    let nodes = graph.as_object_mut().unwrap();
    nodes.retain(|_, node| {
        node["class_type"].as_str().is_some_and(|class| server.info.class(class).is_some())
    });
    let ids: BTreeSet<String> = nodes.keys().cloned().collect();
    for node in nodes.values_mut() {
        if let Some(inputs) = node["inputs"].as_object_mut() {
            inputs.retain(|_, value| value[0].as_str().is_none_or(|id| ids.contains(id)));
        }
    }
    graph
}

/// Puts a choice of the server in the place of every value that is none, so that damage is all that is wrong.
fn mended(graph: &Value, server: &Server) -> Value {
    use comfy_gateway::domain::object_info::InputKind;
    let mut graph = graph.clone();
    for node in graph.as_object_mut().unwrap().values_mut() {
        let class = node["class_type"].as_str().and_then(|class| server.info.class(class));
        for input in class.map(|class| class.inputs.as_slice()).unwrap_or_default() {
            if let InputKind::Combo { choices, .. } = &input.kind
                && let Some(value) = node["inputs"].get_mut(&input.name)
                && !value.is_array()
                && !choices.contains(value)
                && let Some(first) = choices.first()
            {
                *value = first.clone();
            }
        }
    }
    graph
}

fn graphs(folder: &Path, found: &mut Vec<(String, Value)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if name.ends_with(".api.json") {
            found.extend(serde_json::from_str(&text).ok().map(|graph| (name.clone(), graph)));
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            for (at, line) in lines.enumerate().filter(|(_, line)| line["path"] == "/prompt") {
                if line["req"]["prompt"].as_object().is_some_and(|graph| !graph.is_empty()) {
                    found.push((format!("{name}:{at}"), line["req"]["prompt"].clone()));
                }
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs a ComfyUI and a corpus: CHECK_COMFYUI and CHECK_CORPUS"]
async fn the_check_agrees_with_a_real_comfyui() {
    let server = Server::new(std::env::var("CHECK_COMFYUI").unwrap()).await;
    let mutants = std::env::var("CHECK_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    let mut corpus = Vec::new();
    for folder in std::env::var("CHECK_CORPUS").unwrap().split(':') {
        graphs(Path::new(folder), &mut corpus);
    }
    corpus.sort_by(|one, other| one.0.cmp(&other.0));
    let (mut report, mut dice, mut asked) = (Report::default(), Dice(7), 0);
    for (name, graph) in &corpus {
        let pure = known(graph, &server);
        let good = mended(&pure, &server);
        let mut cases = vec![graph.clone(), pure, good.clone()];
        cases.extend((0..mutants).map(|_| damage(&good, &server, &mut dice)));
        for (at, case) in cases.iter().enumerate() {
            let text = case.to_string();
            // One recorded graph ends the server's process.
            if text.contains("\"exit\"") {
                continue;
            }
            asked += 1;
            let shown = format!("{name}#{at}");
            compare(&mut report, &shown, server.check(&text).as_ref(), &server.ask(case).await);
        }
    }
    println!("{} graphs, {asked} asked", corpus.len());
    for (kind, cases) in &report.0 {
        println!("{kind}: {}", cases.len());
        for case in cases.iter().filter(|case| case.contains(": ")).take(40) {
            println!("    {}", case.chars().take(600).collect::<String>());
        }
    }
    for wrong in ["REFUSED BUT ACCEPTED", "FAULTS ONLY OURS"] {
        assert!(!report.0.contains_key(wrong), "{wrong}");
    }
}
