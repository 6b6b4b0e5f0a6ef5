//! Which backend a job may go to: models and node classes that only some backends have.

use std::sync::Arc;
use std::time::Duration;

use comfy_gateway::clock::{Clock, ManualClock};
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::simulator::{FaultRoute, InstalledContent, RequestFault, Simulator};
use serde_json::{Value, json};

use crate::support::{
    Gateway, Settings, data_url, hold, picture, poll, simulator, simulator_with, with_model,
};

const FLUX: &str = "flux1-dev.safetensors";

fn one_slot_each(settings: &mut Settings) {
    settings.backends.iter_mut().for_each(|backend| backend.slots = 1);
}

/// A retry budget of one attempt.
fn one_attempt(settings: &mut Settings) {
    settings.scheduler.retry.max_attempts = 1;
}

fn with_flux(installed: &mut InstalledContent) {
    installed.checkpoints.push(FLUX.to_owned());
}

fn without(class: &str) -> impl FnOnce(&mut InstalledContent) {
    let class = class.to_owned();
    move |installed| installed.without_classes.push(class)
}

/// The number of jobs submitted to a backend.
fn handed(comfy: &Simulator) -> usize {
    comfy.requests(FaultRoute::Prompt).iter().filter(|request| request.method == "POST").count()
}

async fn refused(gateway: &Gateway, body: &Value) -> Value {
    let response = gateway.post("/execute", body).await;
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!((status.as_u16(), &body["code"]), (422, &json!("invalid_workflow")), "{body:#}");
    let jobs: Value = gateway.get("/results").await.json().await.unwrap();
    assert_eq!(jobs["results"], json!([]), "a refused job was queued");
    body
}

fn pointers(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect()
}

/// Waits until a backend is down.
async fn until_down(gateway: &Gateway, at: usize) {
    poll(async || {
        let all: Value = gateway.get("/backends").await.json().await.unwrap();
        (all["backends"][at]["state"] == "down").then_some(())
    })
    .await;
}

/// Waits until a job was assigned to a backend and returned to the queue.
async fn until_requeued(gateway: &Gateway, id: &str) -> Value {
    gateway.until(id, |job| job["attempts"].as_u64() > Some(0) && job["status"] == "queued").await
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(UnixMillis::from_millis(1_800_000_000_000)))
}

#[tokio::test]
async fn what_only_one_server_can_run_goes_there_and_nowhere_else() {
    let (one, two) = (simulator().await, simulator_with(with_flux).await);
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    gateway.until_capabilities_known(2).await;
    let said = gateway.validate(&json!({ "workflow": with_model(FLUX) })).await;
    assert_eq!((&said["ok"], &said["node_errors"]), (&json!(true), &json!({})), "gpu-2 leaves nothing out");
    for _ in 0..4 {
        let result = gateway.run(with_model(FLUX)).await;
        assert_eq!((&result["status"], &result["backend"]), (&json!("completed"), &json!("gpu-2")));
    }
    assert_eq!((handed(&one), handed(&two)), (0, 4));
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_waits_for_its_server_holds_up_none_behind_it() {
    let (one, two) = (simulator_with(without("LabUI")).await, simulator().await);
    let gateway = Gateway::with(&[&one, &two], one_slot_each).await;
    gateway.until_capabilities_known(2).await;
    let only_two = |name: &str| {
        let mut workflow = hold(name);
        workflow["9"] = json!({"class_type": "LabUI", "inputs": {"ui_json": "{}"}});
        workflow
    };
    let first = gateway.submit(only_two("a")).await;
    two.holding("a").await;
    let waiting = gateway.execute(&json!({ "workflow": only_two("b"), "priority": 9 })).await;
    for _ in 0..3 {
        assert_eq!(gateway.run(picture(1)).await["backend"], "gpu-1");
    }
    gateway.until(&waiting, |job| job["status"] == "queued").await;
    two.release("a");
    two.release("b");
    for id in [first, waiting] {
        assert_eq!(gateway.result(&id).await["backend"], "gpu-2");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn what_both_can_run_keeps_both_at_work() {
    let (one, two) = (simulator_with(with_flux).await, simulator_with(with_flux).await);
    let gateway = Gateway::with(&[&one, &two], one_slot_each).await;
    gateway.until_capabilities_known(2).await;
    let held = |name: &str| {
        let mut workflow = with_model(FLUX);
        workflow["9"] = json!({"class_type": "SimHold", "inputs": {"name": name, "any": ["1", 0]}});
        workflow
    };
    let ids = [gateway.submit(held("x")).await, gateway.submit(held("x")).await];
    for comfy in [&one, &two] {
        comfy.holding("x").await;
        comfy.release("x");
    }
    let mut on = Vec::new();
    for id in &ids {
        on.push(gateway.result(id).await["backend"].clone());
    }
    on.sort_by_key(Value::to_string);
    assert_eq!(on, ["gpu-1", "gpu-2"]);
    gateway.finish().await;
}

#[tokio::test]
async fn what_nobody_can_run_is_refused_with_every_fault_by_node() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    let workflow = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 0, "batch_size": 1, "color": "red"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
        "a/b~c": {"class_type": "SavImage", "inputs": {"images": ["1", 0]}},
        "4": {"class_type": "ImageScale", "inputs": {"image": ["1", 3], "upscale_method": "bilinar", "width": 1, "height": 1, "crop": "center"}},
        "5": {"class_type": "PreviewImage", "inputs": {"images": ["4", 0]}}
    });
    let problem = refused(&gateway, &json!({ "workflow": workflow })).await;
    assert_eq!(
        pointers(&problem),
        [
            "/workflow/1/inputs/width",
            "/workflow/1/inputs/height",
            "/workflow/1/inputs/color",
            "/workflow/a~1b~0c",
            "/workflow/4/inputs/image",
            "/workflow/4/inputs/upscale_method",
        ],
        "{problem:#}"
    );
    let errors = problem["errors"].as_array().unwrap();
    let nodes: Vec<_> = errors.iter().map(|error| error["node_id"].as_str().unwrap()).collect();
    assert_eq!(nodes, ["1", "1", "1", "a/b~c", "4", "4"]);
    for (error, says) in errors.iter().zip([
        "EmptyImage (node 1): `width` must be at least 1, not 0",
        "`height`",
        "`color`",
        "SavImage (node a/b~c): the backend has no node class `SavImage`",
        "ImageScale (node 4): ",
        "`upscale_method` must be one of: nearest-exact, bilinear",
    ]) {
        assert!(error["message"].as_str().unwrap().contains(says), "{says}: {error:#}");
    }
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`width`") && detail.ends_with("(and 5 more, see errors)"), "{detail}");
    assert_eq!(problem["retryable"], false);

    let by_node = problem["node_errors"].as_object().unwrap();
    assert_eq!(by_node.keys().collect::<Vec<_>>(), ["1", "a/b~c", "4"]);
    let kinds = |node: &str| -> Vec<&str> {
        let errors = by_node[node]["errors"].as_array().unwrap();
        errors.iter().map(|error| error["type"].as_str().unwrap()).collect()
    };
    assert_eq!(kinds("1"), ["value_smaller_than_min", "required_input_missing", "invalid_input_type"]);
    assert_eq!(kinds("a/b~c"), ["missing_node_type"]);
    assert_eq!(kinds("4"), ["bad_linked_input", "value_not_in_list"]);
    assert_eq!(by_node["4"]["class_type"], "ImageScale");
    let choice = &by_node["4"]["errors"][1];
    assert_eq!(
        (&choice["input"], &choice["received"], &choice["nearest"][0]),
        (&json!("upscale_method"), &json!("bilinar"), &json!("bilinear"))
    );
    assert_eq!(by_node["a/b~c"]["errors"][0]["nearest"][0], "SaveImage");
    gateway.finish().await;
}

#[tokio::test]
async fn a_workflow_without_an_output_is_told_so() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    let mut workflow = picture(1);
    workflow.as_object_mut().unwrap().remove("2");
    let problem = refused(&gateway, &json!({ "workflow": workflow })).await;
    assert_eq!(pointers(&problem), ["/workflow"]);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("no output") && detail.contains("SaveImage"), "{detail}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_fault_of_a_parameter_points_at_the_parameter() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    let mut workflow = picture(1);
    workflow["1"]["_meta"] = json!({ "title": "$color" });
    workflow["1"]["inputs"]["height"] = json!(0);
    let given = json!({ "workflow": workflow, "params": {"color": 0x100_0000} });
    let problem = refused(&gateway, &given).await;
    assert_eq!(pointers(&problem), ["/workflow/1/inputs/height", "/params/color"]);
    assert_eq!(problem["errors"][1]["node_id"], "1");
    // The same value as the graph's own default is the graph's fault.
    workflow["1"]["inputs"]["color"] = json!(0x100_0000);
    let problem = refused(&gateway, &json!({ "workflow": workflow })).await;
    assert_eq!(pointers(&problem), ["/workflow/1/inputs/height", "/workflow/1/inputs/color"]);
    gateway.finish().await;
}

#[tokio::test]
async fn two_servers_that_lack_different_things_are_told_of() {
    let one = simulator_with(without("PreviewAny")).await;
    one.install(with_flux);
    let two = simulator().await;
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    gateway.until_capabilities_known(2).await;
    let problem = refused(&gateway, &json!({ "workflow": with_model(FLUX) })).await;
    let [error] = problem["errors"].as_array().unwrap().as_slice() else { panic!("{problem:#}") };
    let message = error["message"].as_str().unwrap();
    assert!(
        message.ends_with("(on gpu-1; gpu-2 would accept this, but not the whole workflow)"),
        "{message}"
    );
    // What both lack nobody is said to have; the one with the fewest faults speaks.
    let mut workflow = with_model(FLUX);
    workflow["1"]["class_type"] = json!("Unheard");
    let problem = refused(&gateway, &json!({ "workflow": workflow })).await;
    assert_eq!(pointers(&problem), ["/workflow/1"], "{problem:#}");
    assert!(!problem["errors"][0]["message"].as_str().unwrap().contains("gpu-"), "{problem:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_model_that_was_added_counts_as_soon_as_the_answer_is_ten_seconds_old() {
    let (clock, comfy) = (clock(), simulator().await);
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    gateway.until_capabilities_known(1).await;
    let body = json!({ "workflow": with_model(FLUX) });
    refused(&gateway, &body).await;
    let asked = comfy.requests(FaultRoute::ObjectInfo).len();
    comfy.install(with_flux);
    // It was asked just now: callers that err again and again do not make it tell megabytes again and again.
    for _ in 0..5 {
        refused(&gateway, &body).await;
    }
    assert_eq!(comfy.requests(FaultRoute::ObjectInfo).len(), asked);
    clock.advance(Duration::from_secs(10));
    let id = gateway.execute(&body).await;
    assert_eq!(gateway.result(&id).await["status"], "completed");
    assert_eq!(comfy.requests(FaultRoute::ObjectInfo).len(), asked + 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_comes_back_with_a_new_model_is_given_jobs_for_it_within_seconds() {
    let (clock, comfy) = (clock(), simulator().await);
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    gateway.until_capabilities_known(1).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let body = json!({ "workflow": with_model(FLUX) });
    assert_eq!(gateway.validate(&body).await["ok"], false);
    comfy.crash().await;
    comfy.install(with_flux);
    comfy.restart().await.unwrap();
    let before = clock.now();
    while gateway.validate(&body).await["ok"] == false {
        clock.advance(Duration::from_millis(5));
    }
    assert!(clock.now().since(before) < Duration::from_secs(10));
    gateway.finish().await;
}

#[tokio::test]
async fn a_model_that_was_taken_away_is_not_promised_for_ever() {
    let (clock, one, two) = (clock(), simulator_with(with_flux).await, simulator().await);
    let gateway = Gateway::on_clock(clock.clone(), &[&one, &two], one_attempt).await;
    gateway.until_capabilities_known(2).await;
    one.install(|installed| *installed = InstalledContent::default());
    two.install(with_flux);
    // By what is known, gpu-1 has it: it is handed the job, and refuses it itself.
    let id = gateway.submit(with_model(FLUX)).await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["backend"], &result["error"]["code"]), (&json!("gpu-1"), &json!("invalid_workflow")));
    // Five minutes later it is known where the model is.
    let asked = two.requests(FaultRoute::ObjectInfo).len();
    while two.requests(FaultRoute::ObjectInfo).len() == asked {
        clock.advance(Duration::from_secs(1));
        gateway.get("/readyz").await;
    }
    let can = |said: &Value, at: usize| said["backends"][at]["can_run"].clone();
    loop {
        let said = gateway.validate(&json!({ "workflow": with_model(FLUX) })).await;
        if (can(&said, 0), can(&said, 1)) == (json!(false), json!(true)) {
            break;
        }
        // A question for whose answer the clock did not wait is asked again a little later.
        clock.advance(Duration::from_millis(100));
    }
    let id = gateway.submit(with_model(FLUX)).await;
    // A probe for whose answer the clock did not wait may have failed.
    while gateway.job(&id).await["status"] == "queued" {
        clock.advance(Duration::from_millis(100));
    }
    assert_eq!(gateway.result(&id).await["backend"], "gpu-2");
    gateway.finish().await;
}

#[tokio::test]
async fn with_no_server_known_everything_is_accepted_and_waits() {
    let comfy = simulator().await;
    comfy.crash().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let workflow = json!({ "1": {"class_type": "Unheard", "inputs": {}} });
    let said = gateway.validate(&json!({ "workflow": workflow })).await;
    assert_eq!((&said["ok"], &said["backends"][0]["can_run"]), (&json!(true), &Value::Null));
    let id = gateway.submit(workflow).await;
    assert_eq!(gateway.job(&id).await["status"], "queued");
    comfy.restart().await.unwrap();
    let result = gateway.result(&id).await;
    assert_eq!(
        (&result["error"]["code"], &result["error"]["node_id"], &result["error"]["node_type"]),
        (&json!("invalid_workflow"), &json!("1"), &json!("Unheard")),
        "{result:#}"
    );
    let message = result["msg"].as_str().unwrap();
    assert!(message.starts_with("no backend can run the workflow: Unheard (node 1)"), "{message}");
    assert_eq!(handed(&comfy), 0, "a server was handed what it said it cannot run");
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_on_the_wrong_server_goes_elsewhere_and_that_is_no_failure() {
    let (one, two) = (simulator().await, simulator_with(with_flux).await);
    one.crash().await;
    two.crash().await;
    let gateway = Gateway::with(&[&one, &two], one_attempt).await;
    let id = gateway.submit(with_model(FLUX)).await;
    one.restart().await.unwrap();
    // It was on gpu-1 and is queued again: gpu-2 has told nothing yet.
    let waiting = until_requeued(&gateway, &id).await;
    assert_eq!(waiting["backend"], "gpu-1");
    // What gpu-1 told may come to be known a moment after the first offer, and then there is a second one.
    let mut attempts = Vec::new();
    for _ in 0..4 {
        assert_eq!(gateway.run(picture(1)).await["backend"], "gpu-1");
        attempts.push(until_requeued(&gateway, &id).await["attempts"].as_u64().unwrap());
    }
    assert_eq!(attempts[2], attempts[3], "it is offered again and again to the server that cannot run it");
    assert!(attempts[3] <= 2, "{attempts:?}");
    two.restart().await.unwrap();
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["backend"]), (&json!("completed"), &json!("gpu-2")), "{result:#}");
    assert_eq!((handed(&one), handed(&two)), (4, 1));
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_turns_out_to_suit_nobody_fails_with_the_number_of_its_faults() {
    let (one, two) = (simulator().await, simulator_with(without("PreviewAny")).await);
    one.crash().await;
    two.crash().await;
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    let mut workflow = with_model(FLUX);
    workflow["3"] = json!({"class_type": "PreviewAny", "inputs": {}});
    let id = gateway.submit(workflow).await;
    one.restart().await.unwrap();
    until_requeued(&gateway, &id).await;
    two.restart().await.unwrap();
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["backend"]), (&json!("failed"), &json!("gpu-2")), "{result:#}");
    assert_eq!(result["error"]["code"], "invalid_workflow");
    assert_eq!(result["error"]["retryable"], false);
    let message = result["msg"].as_str().unwrap();
    assert!(message.contains("(and 1 more)"), "{message}");
    assert_eq!((handed(&one), handed(&two)), (0, 0));
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_kept_from_a_server_is_offered_to_it_again_when_the_server_has_changed() {
    let (one, two) = (simulator().await, simulator_with(with_flux).await);
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    gateway.until_capabilities_known(2).await;
    two.crash().await;
    until_down(&gateway, 1).await;
    // Kept from gpu-1 by what gpu-2 told before it went down.
    let id = gateway.submit(with_model(FLUX)).await;
    assert_eq!(gateway.run(picture(1)).await["backend"], "gpu-1");
    one.crash().await;
    one.install(with_flux);
    one.restart().await.unwrap();
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["backend"]), (&json!("completed"), &json!("gpu-1")));
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_kept_from_a_server_is_offered_to_it_again_by_the_next_start() {
    let (one, two) = (simulator().await, simulator_with(with_flux).await);
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    gateway.until_capabilities_known(2).await;
    two.crash().await;
    until_down(&gateway, 1).await;
    let id = gateway.submit(with_model(FLUX)).await;
    let left = gateway.stop().await;
    one.install(with_flux);
    let gateway = left.start().await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["backend"]), (&json!("completed"), &json!("gpu-1")));
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_tells_nothing_may_have_what_the_others_lack() {
    let (one, two) = (simulator().await, simulator_with(with_flux).await);
    two.faults().always(FaultRoute::ObjectInfo, RequestFault::Status(500, "no".to_owned()));
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    gateway.until_capabilities_known(1).await;
    for _ in 0..3 {
        let result = gateway.run(with_model(FLUX)).await;
        assert_eq!((&result["status"], &result["backend"]), (&json!("completed"), &json!("gpu-2")));
    }
    assert_eq!(handed(&one), 0);
    gateway.finish().await;
}

#[tokio::test]
async fn for_a_partial_job_a_server_that_runs_a_part_is_as_good_as_one_that_runs_all_of_it() {
    let (one, two) = (simulator().await, simulator_with(without("LabUI")).await);
    one.install(with_flux);
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    gateway.until_capabilities_known(2).await;
    let mut workflow = with_model(FLUX);
    workflow["3"] = json!({"class_type": "SimHold", "inputs": {"name": "x"}});
    let said = gateway.validate(&json!({ "workflow": workflow })).await;
    assert_eq!(said["backends"][1]["can_run"], false, "gpu-2 would not run all of it: {said:#}");
    let said = gateway.validate(&json!({ "workflow": workflow, "partial": true })).await;
    assert_eq!(said["backends"][1]["can_run"], true, "gpu-2 runs the part with node 3: {said:#}");
    workflow["4"] = json!({"class_type": "LabUI", "inputs": {"ui_json": "{}"}});
    let said = gateway.validate(&json!({ "workflow": workflow, "partial": true })).await;
    assert_eq!(said["backends"][1]["can_run"], false, "a missing class refuses all of it: {said:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_file_that_comes_with_the_job_is_not_looked_for_among_the_choices() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    let mut workflow = with_model("none.safetensors");
    workflow["1"]["_meta"] = json!({ "title": "$~model.ckpt_name" });
    let named = json!({ "workflow": workflow, "params": {"model": "none.safetensors"} });
    assert_eq!(pointers(&refused(&gateway, &named).await), ["/params/model"]);
    // The gateway cannot know that this class takes no such file: its server says so.
    let given = json!({ "workflow": workflow, "params": {"model": data_url([1, 2, 3])} });
    let id = gateway.execute(&given).await;
    let result = gateway.result(&id).await;
    let message = result["msg"].as_str().unwrap();
    assert!(
        message.starts_with("ComfyUI refused the workflow: CheckpointLoaderSimple (node 1)"),
        "{message}"
    );
    assert_eq!(handed(&comfy), 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_no_server_suits_it_ends() {
    let (one, two) = (simulator().await, simulator_with(with_flux).await);
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    gateway.until_capabilities_known(2).await;
    two.crash().await;
    until_down(&gateway, 1).await;
    let id = gateway.submit(with_model(FLUX)).await;
    gateway.until(&id, |job| job["status"] == "queued").await;
    gateway.cancel(&id).await;
    assert_eq!(gateway.result(&id).await["status"], "cancelled");
    let impatient = json!({ "workflow": with_model(FLUX), "queue_timeout": 0.05 });
    let id = gateway.execute(&impatient).await;
    assert_eq!(gateway.result(&id).await["error"]["code"], "queue_timeout");
    gateway.finish().await;
}
