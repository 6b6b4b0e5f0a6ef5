//! Tests of parameter binding.

use super::*;
use crate::domain::object_info::ObjectInfo;
use crate::domain::workflow::Workflow;
use proptest::prelude::*;

fn bind(graph: &str, params: &str) -> Result<BoundGraph, WorkflowFaults> {
    let workflow = Workflow::parse(graph).unwrap();
    let values: serde_json::Map<String, serde_json::Value> = serde_json::from_str(params).unwrap();
    let raw: Vec<(String, Box<RawValue>)> = values
        .into_iter()
        .map(|(name, value)| (name, serde_json::value::to_raw_value(&value).unwrap()))
        .collect();
    let values: Vec<(String, GivenValue<'_>)> =
        raw.iter().map(|(name, value)| (name.clone(), GivenValue::Json(value))).collect();
    let mut next = 100;
    let params = Params::declared_in(&workflow, &ObjectInfo::parse(CLASSES).unwrap())?;
    let plan = params.plan(&values)?;
    let names: Vec<String> = plan
        .media()
        .iter()
        .map(|item| match &item.value {
            MediaValue::OnServer(name) => name.clone(),
            other => format!("{other:?}"),
        })
        .collect();
    Ok(plan.bind(&names, &mut || {
        next += 1;
        next
    }))
}

fn messages(graph: &str, params: &str) -> Vec<String> {
    bind(graph, params)
        .unwrap_err()
        .into_iter()
        .map(|fault| format!("{} {}", fault.pointer, fault.message))
        .collect()
}

/// The class of the first node of [`TWO`]; the others are not known.
const CLASSES: &str =
    r#"{"A":{"input":{"required":{"text":["STRING",{}],"n":["INT",{}]}},"output":[],"name":"A"}}"#;
const TWO: &str = r#"{"1":{"class_type":"A","inputs":{ "text" : "old", "n":7, "f":1.0,"on":false},"_meta":{"title":"$prompt.text!, $n, $f, $on"}},
 "2":{"class_type":"B","inputs":{"text":"x","seed":18446744073709551615},"_meta":{"title":"$prompt.text"}}}"#;

#[test]
fn values_go_into_every_marked_field_and_no_other_byte_changes() {
    let bound = bind(TWO, r#"{"prompt":"a \"cat\"","n":18446744073709551615,"f":2,"on":true}"#).unwrap();
    let expected = TWO
        .replacen(r#""old""#, r#""a \"cat\"""#, 1)
        .replacen(r#""x""#, r#""a \"cat\"""#, 1)
        .replacen('7', "18446744073709551615", 1)
        .replacen("1.0", "2", 1)
        .replacen("false", "true", 1);
    assert_eq!(bound.graph, expected);
    assert!(bound.seeds.is_empty());
}

#[test]
fn without_values_the_graph_stays_as_it_was() {
    let graph = TWO.replace("$prompt.text!", "$prompt.text");
    assert_eq!(bind(&graph, "{}").unwrap().graph, graph);
}

#[test]
fn all_faults_of_the_values_are_told_at_once() {
    let found = messages(TWO, r#"{"promt":"x","n":1.5,"f":"1","on":1}"#);
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found[0].starts_with("/promt") && found[0].ends_with("did you mean prompt?"));
    assert!(
        found[1].starts_with("/n ")
            && found[1].contains("must be a whole number (input \"n\" of node \"1\", A)")
    );
    assert!(found[2].contains("must be a number") && found[3].contains("must be a boolean"));
    assert!(found[4].contains("requires the parameter \"prompt\""));
}

#[test]
fn whole_floats_are_whole_numbers_and_null_is_no_value() {
    for whole in ["20", "20.0", "2e1", "2000e-2", "0.2E+2"] {
        let bound = bind(TWO, &format!(r#"{{"prompt":"x","n":{whole}}}"#)).unwrap();
        assert!(bound.graph.contains("\"n\":20,"), "{whole}: {}", bound.graph);
    }
    for fraction in ["20.5", "2e-1", "1e400", "0.2e-9999999999999999999"] {
        let found = messages(TWO, &format!(r#"{{"prompt":"x","n":{fraction}}}"#));
        assert!(found[0].contains("must be a whole number"), "{fraction}: {found:?}");
    }
    for value in ["null", "[1]", "{}"] {
        assert_eq!(messages(TWO, &format!(r#"{{"prompt":{value}}}"#)).len(), 1, "{value}");
    }
}

#[test]
fn an_optional_parameter_needs_a_literal() {
    let linked = r#"{"1":{"class_type":"Q","inputs":{"x":["2",0]},"_meta":{"title":"$x"}},"2":{"class_type":"B","inputs":{},"_meta":{"title":"$y.z"}}}"#;
    let found = messages(linked, "{}");
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("/1/inputs/x") && found[0].contains("needs a default"), "{found:?}");
    assert!(found[1].starts_with("/2/inputs/z"));
}

#[test]
fn an_integer_literal_of_an_unknown_class_takes_any_number() {
    let graph = r#"{"1":{"class_type":"Unknown","inputs":{"cfg":8},"_meta":{"title":"$cfg"}}}"#;
    assert!(bind(graph, r#"{"cfg":7.5}"#).unwrap().graph.contains("\"cfg\":7.5"));
    assert!(messages(graph, r#"{"cfg":"7.5"}"#)[0].contains("must be a number"));
}

#[test]
fn a_marker_for_an_input_that_the_class_has_not_is_told_the_inputs_it_has() {
    let graph = r#"{"1":{"class_type":"A","inputs":{"text":"x","n":1},"_meta":{"title":"$prompt.txt"}}}"#;
    let found = messages(graph, "{}");
    assert!(
        found[0].contains("sets the input \"txt\", which the class A does not have; it has text"),
        "{found:?}"
    );
}

#[test]
fn a_required_parameter_replaces_a_link_or_adds_the_input() {
    let linked = r#"{"1":{"class_type":"A","inputs":{"x":["2",0]},"_meta":{"title":"$x!"}},"2":{"class_type":"B","inputs":{ },"_meta":{"title":"$y.z!, $a!"}}}"#;
    let bound = bind(linked, r#"{"x":1.5,"y":"v","a":true}"#).unwrap();
    let graph: serde_json::Value = serde_json::from_str(&bound.graph).unwrap();
    assert_eq!(graph["1"]["inputs"].to_string(), r#"{"x":1.5}"#);
    assert_eq!(graph["2"]["inputs"], serde_json::json!({"z": "v", "a": true}));
}

#[test]
fn broken_markers_are_refused_with_their_node() {
    let found = messages(r#"{"1":{"class_type":"A","inputs":{},"_meta":{"title":"$"}}}"#, "{}");
    assert!(found[0].starts_with("/1/_meta/title") && found[0].contains("is no parameter marker"));
}

#[test]
fn seeds_of_zero_are_drawn_and_reported() {
    let graph = r#"{"1":{"class_type":"K","inputs":{"seed":0}},"2":{"class_type":"K","inputs":{"noise_seed":"0"}},
        "3":{"class_type":"K","inputs":{"seed":5},"_meta":{"title":"$seed"}},"4":{"class_type":"K","inputs":{"seed":["1",0]}}}"#;
    let bound = bind(graph, r#"{"seed":0}"#).unwrap();
    assert_eq!(bound.seeds, [("1".to_owned(), 101), ("2".to_owned(), 102), ("3".to_owned(), 103)]);
    assert!(bound.graph.contains(r#""noise_seed":102"#) && bound.graph.contains(r#"["1",0]"#));
}

#[test]
fn media_fields_take_a_file_name() {
    let graph =
        r#"{"1":{"class_type":"LoadImage","inputs":{"image":"a.png"},"_meta":{"title":"$photo.image"}}}"#;
    assert!(bind(graph, r#"{"photo":"b.png"}"#).unwrap().graph.contains("\"b.png\""));
    assert!(messages(graph, r#"{"photo":3}"#)[0].contains("must be a URL"));
    assert!(messages(graph, r#"{"photo":[]}"#)[0].contains("empty list"));
    let found = messages(graph, r#"{"photo":["a.png",7]}"#);
    assert!(found[0].starts_with("/photo/1 item 1 of"), "{found:?}");
}

/// The files that values point at, and the graph with the names 0.png, 1.png … for them.
fn files(
    graph: &str,
    values: &[(&str, GivenValue<'_>)],
) -> Result<(Vec<String>, serde_json::Value), Vec<String>> {
    let workflow = Workflow::parse(graph).unwrap();
    let params = Params::declared_in(&workflow, &ObjectInfo::default()).unwrap();
    let values: Vec<_> = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let told = |faults: WorkflowFaults| faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>();
    let plan = params.plan(&values).map_err(told)?;
    let items = plan.media().iter().map(|item| format!("{}{:?}", item.param, item.place)).collect();
    let names: Vec<String> = (0..plan.media().len()).map(|at| format!("{at}.png")).collect();
    Ok((items, serde_json::from_str(&plan.bind(&names, &mut || 1).graph).unwrap()))
}

/// Three pictures under one name, a node that takes a list, and a field that is no file.
const PHOTOS: &str = r#"{
    "1":{"class_type":"LoadImage","inputs":{"image":"a.png"},"_meta":{"title":"$photos.image"}},
    "2":{"class_type":"LoadImage","inputs":{"image":"b.png"},"_meta":{"title":"$photos.image"}},
    "3":{"class_type":"Set","inputs":{"images":["x.png"],"more":{"__value__":["y.png"]},"n":7},"_meta":{"title":"$~set.images!, $~set.more, $n, $~odd.n"}}}"#;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[test]
fn a_list_gives_each_node_its_own_file_and_a_single_one_goes_to_all() {
    let (list, one, set) = (raw(r#"["p","q"]"#), raw(r#""p""#), raw(r#"["s","t","u"]"#));
    let (items, graph) =
        files(PHOTOS, &[("photos", GivenValue::Json(&list)), ("set", GivenValue::Json(&set))]).unwrap();
    assert_eq!(items, ["photosSome(0)", "photosSome(1)", "setSome(0)", "setSome(1)", "setSome(2)"]);
    assert_eq!(graph["1"]["inputs"]["image"], "0.png");
    assert_eq!(graph["2"]["inputs"]["image"], "1.png");
    assert_eq!(graph["3"]["inputs"]["images"], serde_json::json!(["2.png", "3.png", "4.png"]));
    assert_eq!(graph["3"]["inputs"]["more"], serde_json::json!({"__value__": ["2.png", "3.png", "4.png"]}));
    let (items, graph) =
        files(PHOTOS, &[("photos", GivenValue::Json(&one)), ("set", GivenValue::Json(&one))]).unwrap();
    assert_eq!(items, ["photosNone", "setNone"]);
    assert_eq!(graph["1"]["inputs"]["image"], "0.png");
    assert_eq!(graph["2"]["inputs"]["image"], "0.png");
    assert_eq!(graph["3"]["inputs"]["images"], serde_json::json!(["1.png"]));
}

#[test]
fn as_many_files_as_nodes_or_one() {
    let (three, set) = (raw(r#"["p","q","r"]"#), raw(r#""s""#));
    let told =
        files(PHOTOS, &[("photos", GivenValue::Json(&three)), ("set", GivenValue::Json(&set))]).unwrap_err();
    assert_eq!(told, ["\"photos\" takes 2 files, one for each of its nodes; 3 were given"]);
    let single =
        r#"{"1":{"class_type":"LoadImage","inputs":{"image":"a.png"},"_meta":{"title":"$photo.image"}}}"#;
    let told = files(single, &[("photo", GivenValue::Parts(vec![0, 1]))]).unwrap_err();
    assert_eq!(told, ["\"photo\" takes one file; 2 were given"]);
}

#[test]
fn parts_of_a_form_are_files_or_texts_as_the_parameter_has_it() {
    let text = GivenValue::Text;
    let (items, _) =
        files(PHOTOS, &[("photos", GivenValue::Parts(vec![4, 5])), ("set", text("https://x/y"))]).unwrap();
    assert_eq!(items, ["photosSome(0)", "photosSome(1)", "setNone"]);
    let (_, graph) = files(PHOTOS, &[("set", text("a.png")), ("n", text(" 12 "))]).unwrap();
    assert_eq!(graph["3"]["inputs"]["n"], serde_json::json!(12));
    let told = files(PHOTOS, &[("set", text("a.png")), ("n", text("twelve"))]).unwrap_err();
    assert!(told[0].contains("must be a number"), "{told:?}");
    let told = files(PHOTOS, &[("set", text("a.png")), ("n", GivenValue::Parts(vec![0]))]).unwrap_err();
    assert!(told[0].contains("takes no file; mark it as `$~n`"), "{told:?}");
    let told = files(PHOTOS, &[("set", text("a.png")), ("odd", text("a.png"))]).unwrap_err();
    assert!(told[0].contains("marked as media, but it sets a number"), "{told:?}");
    let words = r#"{"1":{"class_type":"A","inputs":{"text":"x"},"_meta":{"title":"$text"}}}"#;
    let (_, graph) = files(words, &[("text", text("12 \"cats\""))]).unwrap();
    assert_eq!(graph["1"]["inputs"]["text"], "12 \"cats\"");
}

#[test]
fn an_unknown_parameter_is_answered_with_what_there_is() {
    assert!(messages(TWO, r#"{"zzz":1,"prompt":"x"}"#)[0].ends_with("it declares f, n, on, prompt"));
    assert!(messages(r#"{"1":{"class_type":"A","inputs":{}}}"#, r#"{"zzz":1}"#)[0].contains("declares none"));
}

proptest! {
    #[test]
    fn any_text_arrives_as_it_was_given(text in ".*", number in any::<u64>()) {
        let params = serde_json::json!({"prompt": text, "n": number}).to_string();
        let bound = bind(TWO, &params).unwrap();
        let graph: serde_json::Value = serde_json::from_str(&bound.graph).unwrap();
        prop_assert_eq!(&graph["1"]["inputs"]["text"], &serde_json::json!(text));
        prop_assert_eq!(graph["1"]["inputs"]["n"].to_string(), number.to_string());
        prop_assert_eq!(graph["2"]["inputs"]["seed"].to_string(), "18446744073709551615");
    }
}

#[test]
fn files_that_are_on_the_server_are_known_before_the_others_come() {
    let workflow = Workflow::parse(PHOTOS).unwrap();
    let params = Params::declared_in(&workflow, &ObjectInfo::default()).unwrap();
    let known = |photos: &str, set: &str| {
        let (photos, set) = (raw(photos), raw(set));
        let values =
            [("photos".to_owned(), GivenValue::Json(&photos)), ("set".to_owned(), GivenValue::Json(&set))];
        let plan = params.plan(&values).unwrap();
        let to_come: Vec<String> =
            plan.files_to_come().map(|(node, input)| format!("{node}.{input}")).collect();
        (plan.known_names(), to_come)
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(known(r#"["a","b"]"#, r#""c""#), (names(&["a", "b", "c"]), names(&[])));
    assert_eq!(known(r#"["a","http://x/y"]"#, r#""c""#), (names(&["a", "", "c"]), names(&["2.image"])));
    // Of a list one that is still to come is enough: the list as it will be is not known.
    let list = known(r#""a""#, r#"["c","http://x/y"]"#);
    assert_eq!(list, (names(&["a", "c", ""]), names(&["3.images", "3.more"])));
}
