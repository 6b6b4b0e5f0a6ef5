//! Several backends with several slots: which job runs where, and in which order.

use comfy_gateway::simulator::{FaultRoute, Simulator};
use serde_json::{Value, json};

use crate::support::{Gateway, Settings, hold, picture, simulator};

fn one_slot_each(settings: &mut Settings) {
    for backend in &mut settings.backends {
        backend.slots = 1;
    }
}

/// The ids in the order in which they were submitted to the backend.
fn order(comfy: &Simulator) -> Vec<String> {
    let seen = comfy.requests(FaultRoute::Prompt);
    let bodies = seen.iter().filter(|request| request.method == "POST");
    bodies
        .map(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            body["prompt_id"].as_str().unwrap().to_owned()
        })
        .collect()
}

async fn up(servers: &[&Simulator]) {
    for server in servers {
        server.until(|record| record.open_sockets() == 1).await;
    }
}

#[tokio::test]
async fn jobs_go_to_the_server_with_the_least_to_do() {
    let (one, two) = (simulator().await, simulator().await);
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    up(&[&one, &two]).await;
    let first = gateway.submit(hold("a")).await;
    one.until(|record| record.is_holding("a")).await;
    let second = gateway.submit(hold("b")).await;
    two.holding("b").await;
    let third = gateway.submit(hold("c")).await;
    let fourth = gateway.submit(hold("d")).await;
    one.until(|record| record.requests(FaultRoute::Prompt) >= 2).await;
    two.until(|record| record.requests(FaultRoute::Prompt) >= 2).await;
    assert_eq!((order(&one)[0].as_str(), order(&two)[0].as_str()), (first.as_str(), second.as_str()));
    for (server, name) in [(&one, "a"), (&two, "b"), (&one, "c"), (&two, "d"), (&one, "d"), (&two, "c")] {
        server.release(name);
    }
    for id in [first, second, third, fourth] {
        assert_eq!(gateway.result(&id).await["status"], "completed");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_is_down_gets_nothing_until_it_is_up() {
    let (down, up_now) = (simulator().await, simulator().await);
    down.crash().await;
    let gateway = Gateway::with(&[&down, &up_now], one_slot_each).await;
    up(&[&up_now]).await;
    let first = gateway.submit(hold("a")).await;
    up_now.holding("a").await;
    let second = gateway.submit(hold("b")).await;
    let backends: Value = gateway.get("/backends").await.json().await.unwrap();
    assert_eq!(backends["backends"][0]["state"], "down");
    assert!(backends["backends"][0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert_eq!(
        (&backends["backends"][1]["state"], &backends["backends"][1]["running"]),
        (&json!("up"), &json!(1))
    );
    assert_eq!(gateway.job(&second).await["status"], "queued");
    down.restart().await.unwrap();
    down.holding("b").await;
    down.release("b");
    up_now.release("a");
    assert_eq!(gateway.result(&second).await["backend"], "gpu-1");
    assert_eq!(gateway.result(&first).await["backend"], "gpu-2");
    gateway.finish().await;
}

#[tokio::test]
async fn higher_priorities_run_first_and_equals_as_they_came() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], one_slot_each).await;
    let first = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let mut jobs = Vec::new();
    for priority in [0, 5, 0, 9, 5, 1, 9, 0] {
        let body = json!({ "workflow": picture(jobs.len().try_into().unwrap()), "priority": priority });
        jobs.push((priority, gateway.execute(&body).await));
    }
    comfy.release("a");
    for (_, id) in &jobs {
        assert_eq!(gateway.result(id).await["status"], "completed");
    }
    let mut expected = jobs.clone();
    expected.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    let expected: Vec<String> =
        std::iter::once(first).chain(expected.into_iter().map(|(_, id)| id)).collect();
    assert_eq!(order(&comfy), expected);
    gateway.finish().await;
}

#[tokio::test]
async fn with_two_slots_the_next_job_waits_in_comfyuis_own_queue() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let first = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let second = gateway.submit(hold("b")).await;
    let third = gateway.submit(hold("c")).await;
    comfy.queued(&second).await;
    assert_eq!((comfy.runs(&second).started, comfy.runs(&third).queued), (0, 0));
    let queue: Value =
        gateway.http.get(format!("{}/queue", comfy.url())).send().await.unwrap().json().await.unwrap();
    assert_eq!(queue["queue_pending"][0][1], second);
    comfy.release("a");
    comfy.queued(&third).await;
    comfy.release("b");
    comfy.release("c");
    for id in [first, second, third] {
        assert_eq!(gateway.result(&id).await["status"], "completed");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn jobs_of_a_burst_reach_a_server_in_the_order_they_were_accepted() {
    let comfy = simulator().await;
    comfy.crash().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let mut ids = Vec::new();
    for color in 0..12 {
        ids.push(gateway.submit(picture(color)).await);
    }
    comfy.restart().await.unwrap();
    for id in &ids {
        gateway.result(id).await;
    }
    assert_eq!(order(&comfy), ids);
    gateway.finish().await;
}

#[tokio::test]
async fn every_server_works_when_there_is_work_for_all() {
    let servers = [simulator().await, simulator().await, simulator().await];
    let all: Vec<&Simulator> = servers.iter().collect();
    let gateway = Gateway::with(&all, one_slot_each).await;
    up(&all).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(gateway.submit(hold("a")).await);
    }
    for server in &servers {
        server.holding("a").await;
        server.release("a");
    }
    for id in &ids {
        assert_eq!(gateway.result(id).await["status"], "completed");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn out_of_memory_on_one_server_may_end_well_on_another() {
    let (small, large) = (simulator().await, simulator().await);
    let gateway = Gateway::with(&[&small, &large], one_slot_each).await;
    up(&[&small, &large]).await;
    small.faults().out_of_memory(1);
    let id = gateway.submit(picture(1)).await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(2)), "{result:#}");
    gateway.finish().await;
}
