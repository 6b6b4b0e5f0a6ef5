//! Files that several parameters, jobs or servers share, and values that are files in less usual ways.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use comfy_gateway::simulator::{FaultRoute, Simulator};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::inputs::invert;
use crate::support::{Behaviour, Gateway, Web, color_of, data_url, hold, picture, png, simulator, titled};

fn uploads(comfy: &Simulator) -> usize {
    comfy.requests(FaultRoute::Upload).len()
}

/// Two pictures that are saved as they are: the parameters `one` and `two`.
fn pair(titles: [&str; 2]) -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": titles[0]}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": titles[1]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}, "_meta": {"title": "$output.a"}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "b"}, "_meta": {"title": "$output.b"}}
    })
}

async fn colors(gateway: &Gateway, result: &Value) -> [[u8; 3]; 2] {
    assert_eq!(result["status"], "completed", "{result:#}");
    let of = async |var: &str| color_of(&gateway.bytes(&result["images_by_var"][var][0]).await);
    [of("a").await, of("b").await]
}

async fn brought(gateway: &Gateway, color: [u8; 3]) -> Value {
    let form = Form::new().part("file", Part::bytes(png(color)).file_name("photo.png"));
    let sent = gateway.http.post(format!("{}/files", gateway.base)).multipart(form).send().await.unwrap();
    let file: Value = sent.json().await.unwrap();
    file["file"].clone()
}

async fn formed(gateway: &Gateway, path: &str, form: Form) -> Value {
    let asked = gateway.http.post(format!("{}{path}", gateway.base)).header("prefer", "wait=30");
    asked.multipart(form).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn two_jobs_with_one_file_at_once_both_succeed() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let body = json!({ "workflow": invert(), "params": {"photo": data_url([1, 2, 3])} });
    let (one, two) = tokio::join!(gateway.execute(&body), gateway.execute(&body));
    for id in [one, two] {
        let result = gateway.result(&id).await;
        let made = gateway.bytes(&result["images"][0]).await;
        assert_eq!((&result["attempts"], color_of(&made)), (&json!(1), [254, 253, 252]), "{result:#}");
    }
    assert!((1..=2).contains(&uploads(&comfy)), "{}", uploads(&comfy));
    gateway.finish().await;
}

#[tokio::test]
async fn one_file_for_two_parameters_is_fetched_and_uploaded_once() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let web = Web::serve(png([7, 8, 9]), Behaviour::Good).await;
    let workflow = pair(["$one.image!", "$two.image!"]);
    let body = json!({ "workflow": workflow, "params": {"one": web.url, "two": web.url} });
    let id = gateway.execute(&body).await;
    assert_eq!(colors(&gateway, &gateway.result(&id).await).await, [[7, 8, 9]; 2]);
    assert_eq!((web.asked(), uploads(&comfy)), (1, 1));
    gateway.finish().await;
}

#[tokio::test]
async fn one_file_for_two_nodes_and_two_parts_of_one_name() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let request = json!({ "workflow": pair(["$photos.image!", "$photos.image!"]) }).to_string();
    let photo = |color: [u8; 3]| Part::bytes(png(color)).file_name("a.png");
    let one = Form::new().text("request", request.clone()).part("photos", photo([1, 1, 1]));
    assert_eq!(colors(&gateway, &formed(&gateway, "/execute", one).await).await, [[1, 1, 1]; 2]);
    let two = Form::new()
        .part("photos", photo([2, 2, 2]))
        .text("request", request)
        .part("photos", photo([3, 3, 3]));
    let result = formed(&gateway, "/execute", two).await;
    assert_eq!(colors(&gateway, &result).await, [[2, 2, 2], [3, 3, 3]], "in the order of the parts");
    gateway.finish().await;
}

#[tokio::test]
async fn a_field_of_a_browsers_form_where_nobody_chose_a_file_is_no_value() {
    let comfy = simulator().await;
    std::fs::write(comfy.input_directory().join("usual.png"), png([5, 5, 5])).unwrap();
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let mut workflow = titled(invert(), "1", "$photo.image");
    workflow["1"]["inputs"]["image"] = json!("usual.png");
    let nothing = || Part::bytes(Vec::new()).file_name("").mime_str("application/octet-stream").unwrap();
    let form =
        Form::new().text("request", json!({ "workflow": workflow }).to_string()).part("photo", nothing());
    let result = formed(&gateway, "/execute", form).await;
    assert_eq!(color_of(&gateway.bytes(&result["images"][0]).await), [250, 250, 250]);
    // Where it must be given, that is what is missing.
    let form =
        Form::new().text("request", json!({ "workflow": invert() }).to_string()).part("photo", nothing());
    let refused = formed(&gateway, "/execute", form).await;
    assert_eq!(refused["code"], "invalid_params", "{refused:#}");
    assert!(refused["detail"].as_str().unwrap().contains("requires the parameter"), "{refused:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn base64_may_come_in_lines() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let text = STANDARD.encode(png([4, 5, 6]));
    let lines: Vec<&str> =
        text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    for value in [
        json!({ "base64": lines.join("\r\n") }),
        json!(format!("data:image/png;base64,{}\n", lines.join("\n"))),
    ] {
        let id = gateway.execute(&json!({ "workflow": invert(), "params": {"photo": value} })).await;
        let result = gateway.result(&id).await;
        assert_eq!(color_of(&gateway.bytes(&result["images"][0]).await), [251, 250, 249], "{result:#}");
    }
    assert_eq!(uploads(&comfy), 1, "it is one file however it is written");
    gateway.finish().await;
}

#[tokio::test]
async fn a_file_that_is_deleted_while_its_job_waits_is_there_for_the_job() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.backends[0].slots = 1).await;
    let file = brought(&gateway, [1, 2, 3]).await;
    let running = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let body = json!({ "workflow": invert(), "params": {"photo": {"file": file}} });
    let waiting = gateway.execute(&body).await;
    let path = format!("/files/{}", file.as_str().unwrap());
    let deleted = gateway.http.delete(format!("{}{path}", gateway.base)).send().await.unwrap();
    assert_eq!((deleted.status().as_u16(), gateway.get(&path).await.status().as_u16()), (204, 404));
    assert_eq!(gateway.post("/execute", &body).await.status(), 422, "nobody else may have it");
    comfy.release("a");
    assert_eq!(gateway.result(&running).await["status"], "completed");
    assert_eq!(gateway.result(&waiting).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn which_of_several_files_of_a_result_must_be_said() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let mut both = picture(0x01_01_01);
    both["3"] = json!({"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 2, "color": 0x02_02_02}});
    both["4"] = json!({"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "b"}, "_meta": {"title": "$output.pair"}});
    let made = gateway.run(both).await;
    assert_eq!(made["media"].as_array().unwrap().len(), 3, "{made:#}");
    let id = &made["prompt_id"];
    let ask = |photo: Value| json!({ "workflow": invert(), "params": {"photo": photo} });
    for photo in [json!({ "result": id }), json!({ "result": id, "var": "pair", "index": 2 })] {
        let refused = gateway.post("/execute", &ask(photo)).await;
        assert_eq!(refused.status(), 422);
        let told = refused.text().await.unwrap();
        assert!(told.contains("cover") && told.contains("pair"), "{told}");
    }
    let photo = json!({ "result": id, "var": "pair", "index": 1 });
    let id = gateway.execute(&ask(photo)).await;
    let result = gateway.result(&id).await;
    assert_eq!(color_of(&gateway.bytes(&result["images"][0]).await), [253, 253, 253]);
    gateway.finish().await;
}
