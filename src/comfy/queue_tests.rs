//! Tests of reading the queue.

use super::super::mutilate;
use super::*;

#[test]
fn waiting_jobs_are_in_the_order_they_will_run() {
    let body = r#"{"queue_running":[[3,"r",{"1":{"class_type":"X"}},{},["1"]]],
        "queue_pending":[[4,"a",{},{},[]],[9,"d",{}],[5.5,"b",{}],[7,"c",{}],[null,"nan",{}],[-1,"front",{}]]}"#;
    let queue = read(body).unwrap();
    assert_eq!(queue.running, ["r"]);
    assert_eq!(queue.pending, ["front", "a", "b", "c", "d", "nan"]);
    assert!(queue.contains("r") && queue.contains("c") && !queue.contains("x"));
}

#[test]
fn the_queues_of_both_versions_are_read() {
    for body in [
        include_str!("../../tests/fixtures/comfyui/0.24.0/queue.json"),
        include_str!("../../tests/fixtures/comfyui/0.3.64/queue.json"),
    ] {
        let queue = read(body).unwrap();
        assert!(queue.running.len() == 1 && queue.pending.len() >= 2, "{queue:?}");
        assert!(queue.running.iter().chain(&queue.pending).all(|id| id.len() == 36), "{queue:?}");
        let is_complete = |job: &ListedPrompt| job.number.is_some() && job.client_id.is_some();
        assert!(queue.jobs.len() == queue.running.len() + queue.pending.len(), "{queue:?}");
        assert!(queue.jobs.iter().all(is_complete), "{queue:?}");
    }
}

#[test]
fn a_queue_in_which_a_part_is_odd_never_lacks_a_job_silently() {
    let body = include_str!("../../tests/fixtures/comfyui/0.24.0/queue.json");
    let whole = read(body).unwrap();
    for changed in mutilate::variants(body) {
        let Ok(queue) = read(&changed) else { continue };
        for id in whole.running.iter().chain(&whole.pending) {
            // Its workflow, number and extra data may be odd, but a job that has an entry is found.
            let has_entry = changed.contains(&format!("\"{id}\",{{"));
            assert!(!has_entry || queue.contains(id), "{id}: {changed}");
        }
    }
    assert!(mutilate::beginnings(body.trim_end()).all(|cut| read(cut).is_err()));
}

#[test]
fn an_answer_that_is_no_queue_is_never_an_empty_queue() {
    for body in [
        "{}",
        "[]",
        "<html>",
        r#"{"queue_running":[]}"#,
        r#"{"queue_running":[],"queue_pending":null}"#,
        r#"{"queue_running":[7],"queue_pending":[]}"#,
        r#"{"queue_running":[[7,null]],"queue_pending":[]}"#,
    ] {
        assert!(read(body).is_err(), "{body}");
    }
    assert_eq!(read(r#"{"queue_running":[],"queue_pending":[]}"#).unwrap(), QueueSnapshot::default());
}
