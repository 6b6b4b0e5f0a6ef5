//! Outputs and uploads over HTTP.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::client::{Lab, picture};

async fn upload(
    lab: &Lab,
    name: &'static str,
    bytes: &'static [u8],
    fields: &[(&'static str, &'static str)],
) -> (u16, Value) {
    let mut form = Form::new().part("image", Part::bytes(bytes).file_name(name));
    for (name, value) in fields {
        form = form.text(*name, *value);
    }
    let response = lab.http.post(lab.url("/upload/image")).multipart(form).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_file_is_served_whole_in_part_and_not_again() {
    let lab = Lab::new().await;
    lab.run(&picture(1)).await;
    let url = lab.url("/api/view?filename=cap_00001_.png&subfolder=&type=output");
    let whole = lab.http.get(&url).send().await.unwrap();
    assert_eq!(whole.headers()["content-type"], "image/png");
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(whole.headers()["content-disposition"], "filename=\"cap_00001_.png\"");
    let (etag, modified) = (whole.headers()["etag"].clone(), whole.headers()["last-modified"].clone());
    let bytes = whole.bytes().await.unwrap();
    let part = lab.http.get(&url).header("range", "bytes=0-9").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], format!("bytes 0-9/{}", bytes.len()));
    assert_eq!(part.bytes().await.unwrap(), bytes[..10]);
    let beyond = lab.http.get(&url).header("range", "bytes=999999-").send().await.unwrap();
    assert_eq!(beyond.status(), 416);
    for (name, value) in [("if-none-match", etag), ("if-modified-since", modified)] {
        assert_eq!(lab.http.get(&url).header(name, value).send().await.unwrap().status(), 304);
    }
    let head = lab.http.head(&url).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()),
        (200, &*bytes.len().to_string())
    );
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused_each_in_its_way() {
    let lab = Lab::new().await;
    let cases = [
        ("/view", 404),
        ("/view?filename=nope.png", 404),
        ("/view?filename=../x.png", 400),
        ("/view?filename=x.png&type=bogus", 400),
        ("/view?filename=x.png&subfolder=../../../etc", 403),
    ];
    for (path, status) in cases {
        assert_eq!(lab.get(path).await.status(), status, "{path}");
    }
}

#[tokio::test]
async fn pictures_carry_their_prompt() {
    let lab = Lab::new().await;
    let mut graph = picture(1);
    graph["2"]["_meta"] = json!({ "title": "ключ" });
    let extra = json!({ "extra_pnginfo": { "workflow": { "id": "wf-1" } } });
    let (_, answer) = lab.submit(&json!({ "prompt": graph, "extra_data": extra })).await;
    lab.history(answer["prompt_id"].as_str().unwrap()).await;
    let bytes = std::fs::read(lab.simulator.output_directory().join("cap_00001_.png")).unwrap();
    let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let texts = &reader.info().uncompressed_latin1_text;
    let text = |keyword: &str| texts.iter().find(|chunk| chunk.keyword == keyword).unwrap().text.clone();
    assert_eq!(serde_json::from_str::<Value>(&text("prompt")).unwrap(), graph);
    assert_eq!(text("workflow"), r#"{"id":"wf-1"}"#);
}

#[tokio::test]
async fn uploads_get_names_as_comfyui_gives_them() {
    let lab = Lab::new().await;
    let named = |name: &str, subfolder: &str, folder: &str| {
        (200, json!({ "name": name, "subfolder": subfolder, "type": folder }))
    };
    assert_eq!(upload(&lab, "a.png", b"1", &[]).await, named("a.png", "", "input"));
    assert_eq!(upload(&lab, "a.png", b"1", &[]).await, named("a.png", "", "input"));
    assert_eq!(upload(&lab, "a.png", b"2", &[]).await, named("a (1).png", "", "input"));
    assert_eq!(upload(&lab, "a.png", b"3", &[("overwrite", "true")]).await, named("a.png", "", "input"));
    assert_eq!(
        upload(&lab, "a.png", b"4", &[("subfolder", "gw/job1")]).await,
        named("a.png", "gw/job1", "input")
    );
    assert_eq!(upload(&lab, "a.png", b"4", &[("type", "temp")]).await, named("a.png", "", "temp"));
    assert_eq!(upload(&lab, "v.mp4", b"5", &[]).await, named("v.mp4", "", "input"));
    assert_eq!(upload(&lab, "a.png", b"4", &[("subfolder", "../../x")]).await.0, 400);
    assert_eq!(upload(&lab, "a.png", b"4", &[("type", "bogus")]).await.0, 500);
    assert_eq!(lab.post("/upload/image", &json!({ "x": 1 })).await.status(), 400);
    assert_eq!(std::fs::read(lab.simulator.input_directory().join("a.png")).unwrap(), b"3");
}

#[tokio::test]
async fn an_uploaded_picture_can_be_loaded_and_a_broken_one_fails_when_run() {
    let lab = Lab::new().await;
    lab.run(&picture(0x12_34_56)).await;
    let bytes = std::fs::read(lab.simulator.output_directory().join("cap_00001_.png")).unwrap();
    upload(&lab, "in.png", bytes.leak(), &[("subfolder", "x")]).await;
    upload(&lab, "broken.png", b"no picture", &[]).await;
    let graph = |name: &str| {
        json!({
            "1": { "class_type": "LoadImage", "inputs": { "image": name } },
            "2": { "class_type": "ImageInvert", "inputs": { "image": ["1", 0] } },
            "3": { "class_type": "PreviewImage", "inputs": { "images": ["2", 0] } },
        })
    };
    for name in ["x/in.png", "cap_00001_.png [output]"] {
        let shown = lab.run(&graph(name)).await["outputs"]["3"]["images"][0].clone();
        assert_eq!(shown["type"], "temp", "{name}");
    }
    let entry = lab.run(&graph("broken.png")).await;
    assert_eq!(entry["status"]["messages"][2][1]["exception_type"], "PIL.UnidentifiedImageError");
}

#[tokio::test]
async fn a_batch_in_a_subfolder_is_named_one_by_one() {
    let lab = Lab::new().await;
    let mut graph = picture(1);
    graph["1"]["inputs"]["batch_size"] = json!(3);
    graph["2"]["inputs"]["filename_prefix"] = json!("sub/dir/%width%-%batch_num%-x");
    let saved = lab.run(&graph).await["outputs"]["2"]["images"].clone();
    let names: Vec<_> =
        saved.as_array().unwrap().iter().map(|file| file["filename"].as_str().unwrap()).collect();
    assert_eq!(names, ["32-0-x_00001_.png", "32-1-x_00002_.png", "32-2-x_00003_.png"]);
    assert_eq!(saved[0]["subfolder"], "sub/dir");
}
