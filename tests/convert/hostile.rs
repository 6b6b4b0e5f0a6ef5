//! Files made to crash, to hang or to fill the memory.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "the test measures how long converting really takes")]
fn in_time<T>(work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let done = work();
    assert!(begin.elapsed() < Duration::from_secs(20), "took {:?}", begin.elapsed());
    done
}

/// `s0` holds `fan` instances of `s1`, … the last holds a number.
fn levels(levels: usize, fan: u64) -> Value {
    let definitions: Vec<Value> = (0..levels)
        .map(|level| {
            let class = if level + 1 == levels { "Number".to_owned() } else { format!("s{}", level + 1) };
            let nodes: Vec<Value> = (1..=fan).map(|id| node(id, &class, &[], json!([]))).collect();
            json!({"id": format!("s{level}"), "name": format!("s{level}"), "nodes": nodes, "links": []})
        })
        .collect();
    let mut file = file(&[node(1, "s0", &[], json!([]))], &[]);
    file["definitions"] = json!({ "subgraphs": definitions });
    file
}

#[test]
fn two_hundred_levels_convert_and_three_hundred_are_refused() {
    let deep = in_time(|| graph(&levels(200, 1)));
    assert_eq!(deep.as_object().unwrap().len(), 1);
    let told = faults(&levels(300, 1));
    assert_eq!(told, ["the subgraph \"s256\" lies deeper than 256 levels"]);
}

#[test]
fn subgraphs_that_double_at_every_level_are_refused_at_once() {
    let told = in_time(|| faults(&levels(60, 2)));
    assert_eq!(told, ["with all subgraphs unfolded the workflow has more than 20000 nodes"]);
    let mut empty = levels(60, 2);
    empty["definitions"]["subgraphs"][59]["nodes"] = json!([]);
    assert_eq!(in_time(|| faults(&empty)), told);
}

#[test]
fn a_subgraph_that_contains_itself_is_refused() {
    let mut one = levels(3, 1);
    one["definitions"]["subgraphs"][2]["nodes"][0]["type"] = json!("s1");
    let told = run(&one).unwrap_err();
    assert_eq!(told[0].message, "the subgraph \"s1\" contains itself");
    assert!(told[0].node_id.as_deref().is_some_and(|id| id.starts_with("1:")), "{told:?}");
}

#[test]
fn ten_thousand_nodes_in_a_row_convert() {
    let row = |class: &str, make: fn(Value) -> Value| {
        let mut nodes = vec![node(0, "Make", &[], json!([8]))];
        nodes.extend((1..10_000).map(|id| make(node(id, class, &[("image", Some(id))], json!([])))));
        nodes.push(node(10_000, "Invert", &[("image", Some(10_000))], json!([])));
        let links: Vec<[i64; 4]> = (1..=10_000).map(|id| [id, id - 1, 0, id]).collect();
        in_time(|| graph(&file(&nodes, &links)))
    };
    assert_eq!(row("Invert", |node| node).as_object().unwrap().len(), 10_001);
    for passed in [row("Reroute", |node| node), row("Invert", bypassed)] {
        assert_eq!(passed["10000"]["inputs"]["image"], json!(["0", 0]));
    }
}

#[test]
fn links_that_take_too_long_together_are_refused() {
    let mut nodes = vec![node(0, "Make", &[], json!([8]))];
    nodes.extend((1..5_000).map(|id| node(id, "Reroute", &[("", Some(id))], json!([]))));
    nodes.extend((5_000..10_000).map(|id| node(id, "Invert", &[("image", Some(5_000))], json!([]))));
    let links: Vec<[i64; 4]> = (1..=5_000).map(|id| [id, id - 1, 0, id]).collect();
    let told = in_time(|| faults(&file(&nodes, &links)));
    assert!(told[0].contains("links are too long"), "{told:?}");
}

#[test]
fn a_long_text_repeated_by_subgraphs_is_refused_before_it_fills_the_memory() {
    let mut large = levels(14, 2);
    for id in 0..2 {
        large["definitions"]["subgraphs"][13]["nodes"][id] =
            node(id as u64 + 1, "Text", &[], json!(["x".repeat(1 << 20)]));
    }
    large["definitions"]["subgraphs"].as_array_mut().unwrap().remove(0);
    large["nodes"][0]["type"] = json!("s1");
    let told = in_time(|| faults(&large));
    assert_eq!(told, ["the workflow is too large: its subgraphs repeat too much"]);
}

#[test]
fn long_ids_do_not_add_up() {
    let mut long = levels(20, 1);
    for level in 0..20 {
        long["definitions"]["subgraphs"][level]["nodes"][0]["id"] = json!("x".repeat(1000));
    }
    let told = run(&long).unwrap_err();
    assert!(told[0].message.contains("longer than 4096"), "{}", told[0].message);
    assert!(told[0].node_id.as_ref().unwrap().len() < 200);
}

#[test]
fn what_is_nested_too_deep_is_refused_unread() {
    let text = format!(
        r#"{{"nodes":[{{"id":1,"type":"Number","widgets_values":{}1{}}}]}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let now = jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0);
    let told = convert(&text, &info(), now, &mut |_| 0).unwrap_err();
    assert_eq!(told[0].message, "the workflow is nested deeper than 100 levels");
}

/// A real file that uses most of what there is.
const REAL: &[&str] = &[
    include_str!("../fixtures/editor/case-subgraph-nested3.editor.json"),
    include_str!("../fixtures/editor/case-subgraph-inner.editor.json"),
    include_str!("../fixtures/editor/case-group-node.editor.json"),
    include_str!("../fixtures/editor/case-dynamic-combo.editor.json"),
    include_str!("../fixtures/editor/case-object-values.editor.json"),
    include_str!("../fixtures/editor/case-bypass-chain.editor.json"),
    include_str!("../fixtures/editor/case-primitive.editor.json"),
];
const REAL_CLASSES: &str = include_str!("../fixtures/editor/object_info.json");

/// Replaces the `at`th value of a tree, counted from its root.
fn replace(tree: &mut Value, at: &mut usize, with: Option<&Value>) -> bool {
    if *at == 0 {
        *tree = with.cloned().unwrap_or(Value::Null);
        return true;
    }
    *at -= 1;
    match tree {
        Value::Array(items) => items.iter_mut().any(|item| replace(item, at, with)),
        Value::Object(entries) => {
            if let (None, true) = (with, *at < entries.len()) {
                let key = entries.keys().nth(*at).unwrap().clone();
                entries.shift_remove(&key);
                return true;
            }
            entries.values_mut().any(|item| replace(item, at, with))
        }
        _ => false,
    }
}

fn count(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(entries) => entries.values().map(count).sum(),
        _ => 0,
    }
}

fn junk() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(Value::Null)),
        1 => (-30i64..30).prop_map(|number| Some(json!(number))),
        1 => any::<f64>().prop_map(|number| Some(json!(number))),
        1 => "[a-z{|}%./:]{0,6}".prop_map(|text| Some(json!(text))),
        1 => prop_oneof![Just(json!([])), Just(json!({})), Just(json!([[]])), Just(json!([1, 2, 3, 4, 5])), Just(json!(true))]
            .prop_map(Some),
        1 => prop_oneof![Just("Reroute"), Just("PrimitiveNode"), Just("KSampler"), Just("workflow>enc"),
            Just("aaaaaaaa-bbbb-4ccc-8ddd-000000000022"), Just("-10"), Just("-20")].prop_map(|text| Some(json!(text))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn real_files_with_anything_replaced_or_deleted_never_panic(
        file in 0..REAL.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), junk()), 1..12),
    ) {
        let classes = ObjectInfo::parse(REAL_CLASSES).unwrap();
        let mut tree: Value = serde_json::from_str(REAL[file]).unwrap();
        for (place, with) in &changes {
            let mut at = place.index(count(&tree));
            replace(&mut tree, &mut at, with.as_ref());
        }
        let now = jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0);
        match convert(&tree.to_string(), &classes, now, &mut |parts| parts) {
            Ok(converted) => {
                let graph: Value = serde_json::from_str(&converted.graph).unwrap();
                for (_, node) in graph.as_object().unwrap() {
                    prop_assert!(node["inputs"].is_object() && node["class_type"].is_string());
                }
            }
            Err(faults) => prop_assert!(!faults.is_empty()),
        }
    }
}
