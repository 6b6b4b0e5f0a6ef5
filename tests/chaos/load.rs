//! The callers: they submit, wait, poll and cancel, whatever becomes of the gateway, and remember what they
//! were told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comfy_gateway::clock::{Clock, SystemClock};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::jobs::{Follow, Plan, plan};
use crate::server::client;

/// Between two tries of a caller who was turned away, and two looks of one who polls.
const PAUSE: Duration = Duration::from_millis(50);

/// What the callers know.
#[derive(Debug, Default)]
pub struct Known {
    /// Every job that was accepted, as they were told.
    pub accepted: Mutex<Vec<String>>,
    /// Jobs that the gateway denied to know after it had accepted them.
    pub denied: Mutex<Vec<String>>,
    /// Answers that were neither a job nor its result, by what was asked, the status and the code.
    pub refused: Mutex<BTreeMap<String, usize>>,
}

impl Known {
    /// Counts a refusal; the first of a kind is shown.
    fn refusal(&self, what: &str, status: StatusCode, body: &Value) {
        let why = format!("{what} {} {}", status.as_u16(), body["code"].as_str().unwrap_or_default());
        let mut refused = self.refused.lock().unwrap();
        let times = refused.entry(why).or_insert(0);
        *times += 1;
        if *times == 1 {
            println!("     the first refusal of its kind: {what} {body}");
        }
    }
}

/// All callers.
#[derive(Default)]
pub struct Load {
    pub known: Arc<Known>,
    /// How many jobs were accepted.
    pub count: watch::Sender<usize>,
    done: CancellationToken,
    tasks: TaskTracker,
}

struct Caller {
    name: String,
    random: StdRng,
    http: reqwest::Client,
    known: Arc<Known>,
    count: watch::Sender<usize>,
    base: watch::Receiver<Option<String>>,
    done: CancellationToken,
}

impl Load {
    /// Lets `callers` begin.
    pub fn start(&self, callers: u64, seed: u64, base: &watch::Sender<Option<String>>) {
        for number in 0..callers {
            let caller = Caller {
                name: format!("c{number}"),
                random: StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number)),
                http: client(),
                known: self.known.clone(),
                count: self.count.clone(),
                base: base.subscribe(),
                done: self.done.clone(),
            };
            self.tasks.spawn(caller.call());
        }
    }

    /// Lets every caller see its last job to its end.
    pub async fn finish(&self) {
        self.done.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.done.cancel();
    }
}

impl Caller {
    async fn call(mut self) {
        for number in 0.. {
            if self.done.is_cancelled() {
                return;
            }
            let plan = plan(&mut self.random, &format!("{}-{number}", self.name));
            if let Some(id) = self.submit(&plan).await {
                self.known.accepted.lock().unwrap().push(id.clone());
                self.count.send_modify(|count| *count += 1);
                self.follow(&id, plan.follow).await;
            }
        }
    }

    /// The gateway's address, as soon as it has one.
    async fn url(&mut self) -> String {
        self.base.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }

    /// The answer, unless the gateway went away under it.
    async fn send(&self, what: &str, request: RequestBuilder) -> Option<(StatusCode, Value)> {
        let Ok(response) = request.send().await else {
            SystemClock.sleep(PAUSE).await;
            return None;
        };
        let status = response.status();
        let body: Value = serde_json::from_str(&response.text().await.ok()?).unwrap_or_default();
        if !status.is_success() {
            self.known.refusal(what, status, &body);
            SystemClock.sleep(PAUSE).await;
        }
        Some((status, body))
    }

    async fn submit(&mut self, plan: &Plan) -> Option<String> {
        let url = self.url().await;
        let mut request = self.http.post(format!("{url}/execute")).json(&plan.body);
        if plan.prefers_wait {
            request = request.header("Prefer", "wait=20");
        }
        let (status, body) = self.send("submit", request).await?;
        status.is_success().then(|| body["prompt_id"].as_str().unwrap().to_owned())
    }

    async fn follow(&mut self, id: &str, follow: Follow) {
        match follow {
            Follow::Wait => {}
            Follow::Poll => self.until(id, "", is_over).await,
            Follow::CancelAtOnce => self.cancel(id).await,
            Follow::CancelRunning => {
                self.until(id, "", |job| job["status"] != "queued").await;
                self.cancel(id).await;
            }
            Follow::CancelLate => {
                let worked = |job: &Value| job["progress"]["value"].as_f64().is_some_and(|done| done > 0.2);
                self.until(id, "", |job| is_over(job) || worked(job)).await;
                self.cancel(id).await;
            }
        }
        self.until(id, "?wait=20", is_over).await;
    }

    /// Asks for the job until it is as expected, or denied.
    async fn until(&mut self, id: &str, wait: &str, expected: impl Fn(&Value) -> bool) {
        loop {
            let url = self.url().await;
            let answer = self.send("result", self.http.get(format!("{url}/results/{id}{wait}"))).await;
            match answer {
                Some((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => {
                    return self.known.denied.lock().unwrap().push(id.to_owned());
                }
                Some((status, job)) if status.is_success() && expected(&job) => return,
                _ if wait.is_empty() => SystemClock.sleep(PAUSE).await,
                _ => {}
            }
        }
    }

    async fn cancel(&mut self, id: &str) {
        loop {
            let url = self.url().await;
            let request = self.http.post(format!("{url}/results/{id}/cancel"));
            match self.send("cancel", request).await {
                Some((status, _)) if !status.is_server_error() => return,
                _ => {}
            }
        }
    }
}

fn is_over(job: &Value) -> bool {
    ["completed", "failed", "cancelled"].iter().any(|end| job["status"] == *end)
}
