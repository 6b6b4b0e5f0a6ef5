//! The jobs of the load. Each has a marker that all its runs show, and an expected end.

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// What a caller does after its job was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Long-polls.
    Wait,
    /// Polls without waiting.
    Poll,
    CancelAtOnce,
    /// Cancels as soon as the job runs.
    CancelRunning,
    /// Cancels after the job has run a while, or has ended.
    CancelLate,
}

/// A job to submit.
#[derive(Debug)]
pub struct Plan {
    pub body: Value,
    /// Whether the request itself has `Prefer: wait`.
    pub prefers_wait: bool,
    pub follow: Follow,
}

/// A graph that works for `seconds` and saves a picture whose name begins with `marker`.
pub fn sleeping_picture(marker: &str, seconds: f64) -> Value {
    let steps = if seconds > 0.5 { 10 } else { 2 };
    // The same seed again would be answered from the server's cache, without any work.
    let mut seed = DefaultHasher::new();
    marker.hash(&mut seed);
    let seed = seed.finish() >> 16;
    json!({
        "1": {"class_type": "LabSleep", "inputs": {"seconds": seconds, "steps": steps, "preview": false, "interruptible": true, "seed": seed}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 255}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": marker}, "_meta": {"title": "$output.cover"}}
    })
}

/// The next job of a caller, drawn from the caller's share of the seed.
pub fn plan(random: &mut StdRng, marker: &str) -> Plan {
    let seconds = match random.random_range(0..100) {
        0..55 => 0.02,
        55..85 => 0.2,
        _ => random.random_range(0.8..2.5),
    };
    let mut workflow = sleeping_picture(marker, seconds);
    let mut body = json!({ "priority": random.random_range(0..5), "metadata": { "marker": marker } });
    match random.random_range(0..100) {
        0..2 => {
            body["metadata"]["fails"] = json!("node_error");
            workflow["4"] = json!({"class_type": "LabFail", "inputs": {"mode": "raise", "message": "as planned", "any": ["2", 0]}});
        }
        2..4 => {
            workflow["1"]["inputs"]["seconds"] = json!(3.0);
            body["metadata"]["fails"] = json!("timeout");
            body["timeout"] = json!(1);
        }
        _ => {}
    }
    body["workflow"] = workflow;
    let follow = match random.random_range(0..100) {
        0..60 => Follow::Wait,
        60..80 => Follow::Poll,
        80..86 => Follow::CancelAtOnce,
        86..94 => Follow::CancelRunning,
        _ => Follow::CancelLate,
    };
    Plan { body, prefers_wait: random.random_bool(0.2), follow }
}
