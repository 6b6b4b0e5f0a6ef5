//! Placement: by the callers' requirements, by loaded models, and fairly between callers.

use comfy_gateway::simulator::{FaultRoute, Simulator};
use serde_json::{Value, json};

use crate::support::{Gateway, Settings, hold, picture, simulator, text, with_model};

const MODELS: [&str; 2] = ["v1-5-pruned-emaonly-fp16.safetensors", "sd_xl_base_1.0.safetensors"];

fn one_slot_each(settings: &mut Settings) {
    settings.backends.iter_mut().for_each(|backend| backend.slots = 1);
}

async fn up(servers: &[&Simulator]) {
    for server in servers {
        server.until(|record| record.open_sockets() == 1).await;
    }
}

/// The jobs submitted to the backend, in order.
fn handed(comfy: &Simulator) -> Vec<Value> {
    let seen = comfy.requests(FaultRoute::Prompt).into_iter().filter(|request| request.method == "POST");
    seen.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

fn ids(comfy: &Simulator) -> Vec<String> {
    handed(comfy).iter().map(|body| body["prompt_id"].as_str().unwrap().to_owned()).collect()
}

/// How often the backend loaded a checkpoint.
fn loads(comfy: &Simulator) -> usize {
    let models = handed(comfy);
    let models = models.iter().filter_map(|body| body["prompt"]["1"]["inputs"]["ckpt_name"].as_str());
    let mut models: Vec<&str> = models.collect();
    models.dedup();
    models.len()
}

async fn queued_behind(gateway: &Gateway, comfy: &Simulator) -> String {
    let first = gateway.submit(hold("first")).await;
    comfy.holding("first").await;
    first
}

async fn all_complete(gateway: &Gateway, ids: &[String]) {
    for id in ids {
        let result = gateway.result(id).await;
        assert_eq!(result["status"], "completed", "{result:#}");
    }
}

#[tokio::test]
async fn labels_choose_among_servers() {
    let (plain, fast) = (simulator().await, simulator().await);
    let gateway = Gateway::with(&[&plain, &fast], |settings| {
        settings.backends[1].labels = vec!["fast".to_owned(), "24gb".to_owned()];
    })
    .await;
    up(&[&plain, &fast]).await;
    for labels in [json!(["fast"]), json!(["24gb", "fast"])] {
        let body = json!({ "workflow": picture(1), "requires": { "labels": labels } });
        let id = gateway.execute(&body).await;
        assert_eq!(gateway.result(&id).await["backend"], "gpu-2");
    }
    for name in ["gpu-1", "gpu-2", "gpu-1"] {
        let body = json!({ "workflow": picture(2), "requires": { "backend": name } });
        let id = gateway.execute(&body).await;
        assert_eq!(gateway.result(&id).await["backend"], name);
    }
    gateway.finish().await;
}

#[tokio::test]
async fn what_is_required_and_not_there_is_waited_for_and_told() {
    let (plain, late) = (simulator().await, simulator().await);
    let gateway = Gateway::in_front_of(&[&plain]).await;
    up(&[&plain]).await;
    let labels = json!({ "workflow": picture(1), "requires": { "labels": ["fast", "24gb"] } });
    let name = json!({ "workflow": picture(2), "requires": { "backend": "late" } });
    let (labels, name) = (gateway.execute(&labels).await, gateway.execute(&name).await);
    let msg =
        |part: &'static str| move |body: &Value| body["msg"].as_str().is_some_and(|msg| msg.contains(part));
    let waits = gateway.until(&labels, msg("a backend with the labels fast, 24gb; none has them")).await;
    assert_eq!((&waits["status"], &waits["queue_position"]), (&json!("queued"), &json!(0)));
    assert_eq!(waits["eta"], Value::Null);
    gateway.until(&name, msg("the backend late, which does not exist")).await;
    // They hold nobody up.
    assert_eq!(gateway.run(text("x", "")).await["backend"], "gpu-1");
    let body = json!({ "name": "late", "url": late.url(), "labels": ["24gb", "other", "fast"] });
    assert_eq!(gateway.post("/backends", &body).await.status(), 201);
    for id in [&labels, &name] {
        let result = gateway.result(id).await;
        assert_eq!((&result["backend"], &result["msg"]), (&json!("late"), &Value::Null), "{result:#}");
    }
    // One that is there but takes no work is told of with its state.
    gateway.post("/backends/late/cordon", &json!({})).await;
    let body = json!({ "workflow": picture(3), "requires": { "backend": "late" }, "queue_timeout": 3600 });
    let id = gateway.execute(&body).await;
    gateway.until(&id, msg("late (cordoned)")).await;
    gateway.cancel(&id).await;
    assert_eq!(gateway.result(&id).await["status"], "cancelled");
    gateway.finish().await;
}

#[tokio::test]
async fn what_is_required_and_never_comes_fails_in_time() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let body = json!({ "workflow": picture(1), "requires": { "labels": ["huge"] }, "queue_timeout": 0.3 });
    let id = gateway.execute(&body).await;
    assert_eq!(gateway.result(&id).await["error"]["code"], "queue_timeout");
    assert_eq!(comfy.all_runs(), []);
    gateway.finish().await;
}

#[tokio::test]
async fn thirty_jobs_of_one_caller_do_not_delay_the_first_of_another() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], one_slot_each).await;
    let mut all = vec![queued_behind(&gateway, &comfy).await];
    for color in 0..30 {
        let body = json!({ "workflow": picture(color), "caller": "many" });
        all.push(gateway.execute(&body).await);
    }
    let body = json!({ "workflow": picture(99), "caller": "one" });
    let one = gateway.execute(&body).await;
    assert!(gateway.job(&one).await["queue_position"].as_u64().unwrap() <= 1, "it is told so, too");
    comfy.release("first");
    all.push(one.clone());
    all_complete(&gateway, &all).await;
    let order = ids(&comfy);
    let place = order.iter().position(|id| *id == one).unwrap();
    assert!(place <= 2, "it was number {place}");
    // Among themselves a caller's jobs go as they came.
    let many: Vec<&String> = order.iter().filter(|id| **id != one).collect();
    assert_eq!(many, all[..31].iter().collect::<Vec<_>>());
    gateway.finish().await;
}

#[tokio::test]
async fn priority_goes_before_fairness() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], one_slot_each).await;
    let mut all = vec![queued_behind(&gateway, &comfy).await];
    for (caller, priority) in [("one", 0), ("many", 5), ("many", 5), ("many", 5)] {
        let body = json!({ "workflow": picture(1), "caller": caller, "priority": priority });
        all.push(gateway.execute(&body).await);
    }
    comfy.release("first");
    all_complete(&gateway, &all).await;
    assert_eq!(ids(&comfy).last(), Some(&all[1]));
    gateway.finish().await;
}

#[tokio::test]
async fn two_servers_keep_one_of_two_models_each() {
    let (one, two) = (simulator().await, simulator().await);
    let gateway = Gateway::with(&[&one, &two], one_slot_each).await;
    up(&[&one, &two]).await;
    let mut all = vec![gateway.submit(hold("a")).await, gateway.submit(hold("a")).await];
    for server in [&one, &two] {
        server.holding("a").await;
    }
    for at in 0..16 {
        // In pairs: handed out as they came, each server would load another model for each.
        all.push(gateway.submit(with_model(MODELS[at / 2 % 2])).await);
    }
    one.release("a");
    two.release("a");
    all_complete(&gateway, &all).await;
    let (loads, runs) = ([loads(&one), loads(&two)], [handed(&one).len(), handed(&two).len()]);
    assert!(loads.iter().sum::<usize>() <= 5, "{loads:?} loads for {runs:?} runs");
    assert!(runs.iter().all(|runs| *runs > 2), "both work: {runs:?}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_waits_behind_a_long_one_is_asked_back_for_a_server_that_has_nothing_to_do() {
    let (one, two) = (simulator().await, simulator().await);
    two.crash().await;
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    up(&[&one]).await;
    let long = gateway.submit(hold("long")).await;
    one.holding("long").await;
    let waits = gateway.submit(picture(1)).await;
    one.queued(&waits).await;
    two.restart().await.unwrap();
    let result = gateway.result(&waits).await;
    let attempts = result["attempt_history"].as_array().unwrap();
    assert_eq!((&result["status"], &result["backend"]), (&json!("completed"), &json!("gpu-2")), "{result:#}");
    assert_eq!(attempts[0]["outcome"], "not_run");
    assert!(attempts[0]["reason"].as_str().unwrap().contains("another backend was idle"));
    assert_eq!(one.runs(&waits).started, 0);
    assert_eq!(gateway.job(&long).await["status"], "running", "what runs is left to run");
    one.release("long");
    assert_eq!(gateway.result(&long).await["attempts"], 1);
    gateway.finish().await;
}

#[tokio::test]
async fn places_are_told_at_once_and_times_when_they_are_known() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], one_slot_each).await;
    let first = queued_behind(&gateway, &comfy).await;
    let more = [gateway.submit(hold("a")).await, gateway.submit(hold("a")).await];
    for (position, id) in more.iter().enumerate() {
        let body = gateway.job(id).await;
        assert_eq!((&body["queue_position"], &body["eta"]), (&json!(position), &Value::Null), "{body:#}");
    }
    let runs = gateway.job(&first).await;
    assert_eq!((&runs["queue_position"], &runs["eta"]), (&Value::Null, &Value::Null), "{runs:#}");
    comfy.release("first");
    comfy.holding("a").await;
    let done = gateway.result(&first).await;
    assert_eq!((&done["queue_position"], &done["eta"]), (&Value::Null, &Value::Null), "it is over");

    let runs = gateway.until(&more[0], |body| !body["eta"].is_null()).await;
    assert_eq!(runs["eta"]["start"], Value::Null, "it has started");
    let next = gateway.until(&more[1], |body| body["queue_position"] == 0).await;
    let (start, end) = (next["eta"]["start"].as_str().unwrap(), next["eta"]["end"].as_str().unwrap());
    assert!(next["created_at"].as_str().unwrap() < start && start <= end, "{next:#}");
    // Of a job unlike any before only its start can be told; of those behind it nothing.
    let unlike = [gateway.submit(picture(1)).await, gateway.submit(hold("a")).await];
    let eta = gateway.job(&unlike[0]).await["eta"].clone();
    assert!(eta["start"].is_string() && eta["end"].is_null(), "{eta:#}");
    assert_eq!(gateway.job(&unlike[1]).await["eta"], Value::Null);
    let listed: Value = gateway.get("/results?status=queued").await.json().await.unwrap();
    let places: Vec<&Value> =
        listed["results"].as_array().unwrap().iter().map(|job| &job["queue_position"]).collect();
    assert_eq!(places.len(), 3);
    assert!(places.iter().all(|place| place.is_u64()), "{listed:#}");
    for _ in 0..3 {
        comfy.holding("a").await;
        comfy.release("a");
    }
    all_complete(&gateway, &[more.as_slice(), unlike.as_slice()].concat()).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_drained_server_gives_back_what_waits_there_though_nobody_else_could_take_it() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let runs = queued_behind(&gateway, &comfy).await;
    let waits = gateway.submit(text("x", "")).await;
    comfy.queued(&waits).await;
    gateway.post("/backends/gpu-1/drain", &json!({})).await;
    let told = gateway.until(&waits, |body| body["status"] == "queued" && body["msg"].is_string()).await;
    assert!(told["msg"].as_str().unwrap().contains("gpu-1 (draining)"), "{told:#}");
    assert_eq!(told["attempt_history"][0]["outcome"], "not_run");
    assert_eq!(gateway.job(&runs).await["status"], "running");
    comfy.release("first");
    assert_eq!(gateway.result(&runs).await["attempts"], 1);
    assert_eq!(gateway.job(&waits).await["status"], "queued");
    assert_eq!(comfy.runs(&waits).started, 0);
    gateway.post("/backends/gpu-1/uncordon", &json!({})).await;
    all_complete(&gateway, &[waits]).await;
    gateway.finish().await;
}
