//! Fetching the inputs of queued jobs, and changes of the job in the meantime.

use std::sync::Arc;
use std::time::Duration;

use comfy_gateway::clock::ManualClock;
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::simulator::FaultRoute;
use serde_json::{Value, json};

use crate::support::{Behaviour, Gateway, Web, color_of, data_url, png, simulator, titled, with_model};

/// Two pictures, shown under `first` and `second`.
fn two() -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "$one.image!"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "$two.image!"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}, "_meta": {"title": "$output.first"}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "b"}, "_meta": {"title": "$output.second"}}
    })
}

/// The colours of the two pictures.
async fn colors(gateway: &Gateway, one: Value, two_is: Value) -> [[u8; 3]; 2] {
    let id = gateway.execute(&json!({ "workflow": two(), "params": {"one": one, "two": two_is} })).await;
    let result = gateway.result(&id).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    let first = gateway.bytes(&result["images_by_var"]["first"][0]).await;
    let second = gateway.bytes(&result["images_by_var"]["second"][0]).await;
    [color_of(&first), color_of(&second)]
}

fn wants(photo: &str) -> Value {
    json!({ "workflow": super::inputs::invert(), "params": {"photo": photo} })
}

#[tokio::test]
async fn each_parameter_gets_its_own_file_wherever_it_comes_from() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let (red, blue) = (
        Web::serve(png([200, 0, 0]), Behaviour::Good).await,
        Web::serve(png([0, 0, 200]), Behaviour::Good).await,
    );
    let (red_url, blue_url) = (json!(red.url), json!(blue.url));
    assert_eq!(colors(&gateway, red_url.clone(), blue_url.clone()).await, [[200, 0, 0], [0, 0, 200]]);
    assert_eq!(colors(&gateway, blue_url, json!(data_url([1, 2, 3]))).await, [[0, 0, 200], [1, 2, 3]]);
    assert_eq!(colors(&gateway, json!(data_url([1, 2, 3])), red_url).await, [[1, 2, 3], [200, 0, 0]]);
    gateway.finish().await;
}

#[tokio::test]
async fn one_file_that_cannot_be_had_fails_the_job_whatever_the_other_does() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let good = Web::serve(png([7, 7, 7]), Behaviour::Good).await;
    let gone = Web::serve("", Behaviour::Status(410)).await;
    for (one, other, at_fault) in [(&good, &gone, "two"), (&gone, &good, "one")] {
        let body = json!({ "workflow": two(), "params": {"one": one.url, "two": other.url} });
        let id = gateway.execute(&body).await;
        let result = gateway.result(&id).await;
        assert_eq!((&result["error"]["code"], &result["attempts"]), (&json!("input_unavailable"), &json!(0)));
        let message = result["msg"].as_str().unwrap();
        assert!(message.contains(&format!("{at_fault:?}")) && message.contains("410"), "{message}");
        assert!(!message.contains("times"), "what is gone is not asked for again: {message}");
    }
    assert!(comfy.requests(FaultRoute::Prompt).is_empty());
    gateway.finish().await;
}

#[tokio::test]
async fn the_time_in_the_queue_passes_while_a_file_is_fetched() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let web = Web::serve(png([1, 1, 1]), Behaviour::Hangs).await;
    let mut body = wants(&web.url);
    body["queue_timeout"] = json!(0.2);
    let id = gateway.execute(&body).await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["error"]["code"]), (&json!("failed"), &json!("queue_timeout")));
    assert_eq!(web.asked(), 1);
    gateway.finish().await;
}

#[tokio::test]
async fn while_the_gateway_cannot_store_files_a_job_is_tried_again_and_then_says_so() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| {
        settings.scheduler.retry.base = Duration::from_millis(1);
    })
    .await;
    let web = Web::serve(png([1, 1, 1]), Behaviour::Good).await;
    let incoming = gateway.data.path().join("media/incoming");
    std::fs::remove_dir(&incoming).unwrap();
    std::fs::write(&incoming, "in the way").unwrap();
    let id = gateway.execute(&wants(&format!("{}/secret", web.url))).await;
    let result = gateway.result(&id).await;
    assert_eq!(result["error"]["code"], "input_unavailable", "{result:#}");
    let message = result["msg"].as_str().unwrap();
    assert!(message.ends_with("127.0.0.1: the gateway could not store it (3 times)"), "{message}");
    assert_eq!(web.asked(), 3);
    std::fs::remove_file(&incoming).unwrap();
    std::fs::create_dir(&incoming).unwrap();
    let id = gateway.execute(&wants(&web.url)).await;
    assert_eq!(gateway.result(&id).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn a_fetched_file_is_not_looked_for_among_the_choices_of_a_server() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    let web = Web::serve("weights", Behaviour::Good).await;
    let workflow = titled(with_model("none.safetensors"), "1", "$~model.ckpt_name");
    let id = gateway.execute(&json!({ "workflow": workflow, "params": {"model": web.url} })).await;
    let result = gateway.result(&id).await;
    // The server was given the job and refuses it itself: a class may take files that it does not list.
    assert!(result["msg"].as_str().unwrap().starts_with("ComfyUI refused the workflow"), "{result:#}");
    assert_eq!(comfy.requests(FaultRoute::Upload).len(), 1);
    gateway.finish().await;
}

#[tokio::test]
async fn both_kinds_of_files_survive_a_restart() {
    let comfy = simulator().await;
    comfy.crash().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let web = Web::serve(png([9, 8, 7]), Behaviour::Good).await;
    let body = json!({ "workflow": two(), "params": {"one": web.url, "two": data_url([4, 5, 6])} });
    let id = gateway.execute(&body).await;
    web.came().await;
    let gateway = gateway.stop().await.start().await;
    comfy.restart().await.unwrap();
    let result = gateway.result(&id).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    let first = gateway.bytes(&result["images_by_var"]["first"][0]).await;
    let second = gateway.bytes(&result["images_by_var"]["second"][0]).await;
    assert_eq!([color_of(&first), color_of(&second)], [[9, 8, 7], [4, 5, 6]]);
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_is_cancelled_leaves_nothing_of_what_was_fetched_for_it() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let good = Web::serve(png([7, 7, 7]), Behaviour::Good).await;
    let hanging = Web::serve(png([8, 8, 8]), Behaviour::Hangs).await;
    let body = json!({ "workflow": two(), "params": {"one": good.url, "two": hanging.url} });
    let id = gateway.execute(&body).await;
    hanging.came().await;
    assert_eq!(good.asked(), 1);
    assert_eq!(gateway.cancel(&id).await["status"], "cancelled");
    // The end of the gateway asserts that every file belongs to somebody.
    gateway.finish().await;
}

#[tokio::test]
async fn what_was_fetched_and_cannot_be_kept_is_fetched_again_until_it_can() {
    let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(1_800_000_000_000)));
    let comfy = simulator().await;
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    let web = Web::serve(png([7, 7, 7]), Behaviour::Good).await;
    let kept = gateway.data.path().join("media/inputs");
    std::fs::write(&kept, "in the way").unwrap();
    let id = gateway.execute(&wants(&web.url)).await;
    while web.asked() < 2 {
        assert_eq!(gateway.job(&id).await["status"], "queued");
        clock.advance(Duration::from_millis(100));
    }
    std::fs::remove_file(&kept).unwrap();
    let result = loop {
        let now = gateway.job(&id).await;
        if now["finished_at"].is_string() {
            break now;
        }
        clock.advance(Duration::from_millis(100));
    };
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(1)), "{result:#}");
    gateway.finish().await;
}
