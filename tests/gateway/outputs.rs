//! The outputs of a run in the result: names, kinds, order, texts, files.

use serde_json::{Value, json};

use crate::support::{Gateway, shows, simulator, titled};

fn file(name: &str, kind: &str) -> Value {
    json!({ "filename": name, "subfolder": "", "type": kind })
}

#[tokio::test]
async fn several_outputs_go_by_their_names_in_comfyuis_order() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let result = gateway
        .run(json!({
            "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 2, "color": 7}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "b"}, "_meta": {"title": "$output.cover"}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
            "4": {"class_type": "PrimitiveString", "inputs": {"value": "once"}},
            "5": {"class_type": "PreviewAny", "inputs": {"source": ["4", 0]}, "_meta": {"title": "$output.caption"}}
        }))
        .await;
    assert_eq!(result["status"], "completed", "{result:#}");
    assert_eq!(result["images_by_var"]["cover"].as_array().unwrap().len(), 2);
    assert_eq!(result["images_by_var"]["3"].as_array().unwrap().len(), 2);
    let flat: Vec<&Value> = result["images_by_var"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|list| list.as_array().unwrap())
        .collect();
    assert_eq!(result["images"].as_array().unwrap().iter().collect::<Vec<_>>(), flat);
    let nodes: Vec<&String> = result["outputs"].as_object().unwrap().keys().collect();
    let vars: Vec<&str> =
        result["media"].as_array().unwrap().iter().map(|m| m["node_id"].as_str().unwrap()).collect();
    assert!(
        nodes.iter().filter(|node| **node != "5").flat_map(|node| [node, node]).eq(vars.iter()),
        "{nodes:?} {vars:?}"
    );
    assert_eq!(result["texts_by_var"], json!({"caption": ["once"]}));
    assert_eq!(result["texts"], json!(["once"]));
    gateway.finish().await;
}

#[tokio::test]
async fn films_sounds_and_other_files_go_by_their_kind() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let contents =
        [("film.mp4", "\0\0\0\x18ftypmp42film"), ("song.mp3", "ID3song"), ("mesh.glb", "glTFmesh")];
    for (name, bytes) in contents {
        std::fs::write(comfy.output_directory().join(name), bytes).unwrap();
    }
    let ui = json!({
        "images": [file("film.mp4", "output")], "animated": [true],
        "audio": [file("song.mp3", "output")], "latents": [file("mesh.glb", "output")]
    });
    let result = gateway.run(titled(shows(&ui), "1", "$output.all")).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    assert_eq!(result["images"], json!([]));
    for (list, (name, bytes)) in ["videos", "audios", "files"].into_iter().zip(contents) {
        let url = &result[list][0];
        assert_eq!(result[format!("{list}_by_var")]["all"][0], *url);
        assert!(url.as_str().unwrap().ends_with(name), "{url}");
        assert_eq!(gateway.bytes(url).await, bytes.as_bytes());
    }
    let types: Vec<&Value> =
        result["media"].as_array().unwrap().iter().map(|media| &media["content_type"]).collect();
    assert_eq!(types[..2], [&json!("video/mp4"), &json!("audio/mpeg")]);
    gateway.finish().await;
}

#[tokio::test]
async fn previews_that_comfyui_keeps_only_for_a_while_are_kept_by_us() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let result = gateway
        .run(json!({
            "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 7}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
        }))
        .await;
    assert_eq!(result["outputs"]["2"]["images"][0]["type"], "temp");
    comfy.restart().await.unwrap();
    assert!(gateway.bytes(&result["images_by_var"]["2"][0]).await.starts_with(b"\x89PNG"));
    gateway.finish().await;
}

#[tokio::test]
async fn a_sound_is_a_real_wav() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let result = gateway
        .run(json!({
            "1": {"class_type": "SimTone", "inputs": {"seconds": 0.1, "hertz": 440.0}},
            "2": {"class_type": "SimSaveWav", "inputs": {"audio": ["1", 0], "filename_prefix": "audio/tone"}, "_meta": {"title": "$output.tone"}}
        }))
        .await;
    assert_eq!(result["media"][0]["kind"], "audio", "{result:#}");
    assert!(gateway.bytes(&result["audios_by_var"]["tone"][0]).await.starts_with(b"RIFF"));
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_without_outputs_completes_empty() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let blocked = json!({
        "1": {"class_type": "LabBlock", "inputs": {"message": "no", "silent": true}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    });
    let result = gateway.run(blocked).await;
    assert_eq!((&result["status"], &result["outputs"]), (&json!("completed"), &json!({})), "{result:#}");
    assert_eq!((&result["images"], &result["images_by_var"]), (&json!([]), &json!({})));
    gateway.finish().await;
}

#[tokio::test]
async fn outputs_are_verbatim_but_for_nan() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.faults().nan(1);
    let ui = json!({ "z": [{"deep": [1.50, null, true]}], "text": ["a", "bc"], "a": ["ü"] });
    let id = gateway.submit(shows(&ui)).await;
    let result = gateway.result(&id).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    assert_eq!(
        serde_json::to_string(&result["outputs"]["1"]).unwrap(),
        r#"{"z":[{"deep":[1.5,null,true]}],"text":["a","bc"],"a":["ü"],"nan":[null]}"#
    );
    assert_eq!(result["texts_by_var"], json!({"1": ["a", "bc"]}));
    let text = gateway.get(&format!("/results/{id}")).await.text().await.unwrap();
    assert!(!text.contains("NaN"));
    gateway.finish().await;
}

#[tokio::test]
async fn a_text_that_python_took_apart_is_whole_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let result = gateway.run(shows(&json!({ "text": "hello" }))).await;
    assert_eq!(result["texts"], json!(["hello"]));
    assert_eq!(result["outputs"]["1"]["text"], json!(["h", "e", "l", "l", "o"]));
    gateway.finish().await;
}

#[tokio::test]
async fn files_of_one_name_in_several_folders_do_not_cover_each_other() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    for folder in ["one", "two"] {
        std::fs::create_dir_all(comfy.output_directory().join(folder)).unwrap();
        std::fs::write(comfy.output_directory().join(folder).join("ä b.bin"), folder).unwrap();
    }
    let item = |folder: &str| json!({"filename": "ä b.bin", "subfolder": folder, "type": "output"});
    let ui = json!({ "things": [item("one"), item("two"), item("one"), null, "x", false] });
    let result = gateway.run(shows(&ui)).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    let files = result["files"].as_array().unwrap();
    assert_eq!((files.len(), &files[0]), (3, &files[2]), "the same file is stored once");
    assert_eq!(gateway.bytes(&files[0]).await, "one");
    assert_eq!(gateway.bytes(&files[1]).await, "two");
    assert_eq!(result["media"][0]["filename"], "ä b.bin");
    gateway.finish().await;
}

#[tokio::test]
async fn outputs_of_an_expanded_node_go_by_its_name() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let expand = json!({ "5": {"class_type": "LabExpand", "inputs": {"prefix": "x", "color": 9}, "_meta": {"title": "$output.made"}} });
    let result = gateway.run(expand).await;
    assert_eq!(result["images_by_var"]["made"].as_array().map(Vec::len), Some(1), "{result:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_long_text_is_a_file_and_short_ones_stay() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.scheduler.inline_text = 10).await;
    let long = "zwölf Boxkämpfer".repeat(20);
    let ui = json!({ "text": ["short", long] });
    let result = gateway.run(titled(shows(&ui), "1", "$output.caption")).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    assert_eq!(result["texts_by_var"], json!({"caption": ["short"]}));
    assert_eq!(result["files_by_var"]["caption"], result["files"]);
    let file = &result["media"][0];
    assert_eq!(
        (&file["kind"], &file["content_type"], &file["node_id"], &file["filename"]),
        (&json!("file"), &json!("text/plain; charset=utf-8"), &json!("1"), &json!("caption.txt"))
    );
    assert_eq!(gateway.bytes(&result["files"][0]).await, long.as_bytes());
    let told = format!("the text of caption has {} bytes and is in files_by_var", long.len());
    assert_eq!(result["msg"], told);
    assert_eq!(result["outputs"]["1"], ui, "outputs are verbatim");
    gateway.finish().await;
}

#[tokio::test]
async fn outputs_that_are_too_large_for_an_answer_are_a_file() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.scheduler.inline_outputs = 500).await;
    let small = gateway.run(shows(&json!({ "values": [1, 2] }))).await;
    assert_eq!((&small["outputs_url"], &small["msg"]), (&Value::Null, &Value::Null), "{small:#}");
    let ui = json!({ "values": (0..500).collect::<Vec<_>>() });
    let result = gateway.run(shows(&ui)).await;
    assert_eq!((&result["status"], &result["outputs"]), (&json!("completed"), &json!({})), "{result:#}");
    assert_eq!((&result["media"], &result["files"]), (&json!([]), &json!([])));
    let outputs: Value = serde_json::from_slice(&gateway.bytes(&result["outputs_url"]).await).unwrap();
    assert_eq!(outputs, json!({ "1": ui }));
    assert!(result["msg"].as_str().unwrap().ends_with("bytes and are at outputs_url"), "{result:#}");
    gateway.finish().await;
}
