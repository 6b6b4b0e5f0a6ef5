//! Every metric the gateway tells, named in this one place. It must not know who measures.
//!
//! # To add a metric
//! Add a field, register it in [`Metrics::new`] with a help text, and name it in the test below.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::job::Status;

/// One status of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabel {
    status: StatusValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct StatusValue(Status);

impl EncodeLabelValue for StatusValue {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.as_str().encode(encoder)
    }
}

/// How an attempt ended: a status, a failure code or `requeued`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabel {
    backend: String,
    outcome: &'static str,
}

/// A part of a job's time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PhaseLabel {
    phase: &'static str,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BackendLabel {
    backend: String,
}

/// One kind of HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabel {
    method: String,
    route: String,
    status: u16,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    method: String,
    route: String,
}

/// The gateway's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    accepted: Counter,
    finished: Family<StatusLabel, Counter>,
    attempts: Family<AttemptLabel, Counter>,
    phases: Family<PhaseLabel, Histogram>,
    batch: Histogram,
    requests: Family<RequestLabel, Counter>,
    request_time: Family<RouteLabel, Histogram>,
    jobs: Family<StatusLabel, Gauge>,
    oldest: Gauge,
    up: Family<BackendLabel, Gauge>,
    slots: Family<BackendLabel, Gauge>,
    running: Family<BackendLabel, Gauge>,
}

fn seconds(bounds: &'static [f64]) -> Histogram {
    Histogram::new(bounds.iter().copied())
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that count from zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("comfy_gateway");
        let this = Self {
            registry: Registry::default(),
            accepted: Counter::default(),
            finished: Family::default(),
            attempts: Family::default(),
            phases: Family::new_with_constructor(|| {
                seconds(&[0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0])
            }),
            batch: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
            requests: Family::default(),
            request_time: Family::new_with_constructor(|| {
                seconds(&[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0])
            }),
            jobs: Family::default(),
            oldest: Gauge::default(),
            up: Family::default(),
            slots: Family::default(),
            running: Family::default(),
        };
        registry.register("jobs_accepted", "Jobs answered with 202", this.accepted.clone());
        registry.register("jobs_finished", "Jobs that ended, by status", this.finished.clone());
        registry.register("attempts", "Attempts that ended, by server and outcome", this.attempts.clone());
        registry.register_with_unit(
            "job_phase",
            "Time by phase of jobs that ended",
            Unit::Seconds,
            this.phases.clone(),
        );
        registry.register("store_batch_writes", "Writes committed together", this.batch.clone());
        registry.register("http_requests", "HTTP requests, by route and status", this.requests.clone());
        let help = "Time to answer HTTP requests";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, this.request_time.clone());
        registry.register(
            "jobs",
            "Jobs in the store, by status; the queue's depth is status=\"queued\"",
            this.jobs.clone(),
        );
        let help = "Age of the oldest queued job; 0 when none waits";
        registry.register_with_unit("queue_oldest_age", help, Unit::Seconds, this.oldest.clone());
        registry.register("backend_up", "Whether the server is usable", this.up.clone());
        registry.register("backend_slots", "Jobs the server is given at once", this.slots.clone());
        registry.register("backend_running", "Jobs the server has from this gateway", this.running.clone());
        Self { registry, ..this }
    }

    /// A job was accepted.
    pub fn job_accepted(&self) {
        self.accepted.inc();
    }

    /// A job ended.
    pub fn job_finished(&self, status: Status) {
        self.finished.get_or_create(&StatusLabel { status: StatusValue(status) }).inc();
    }

    /// An attempt ended.
    pub fn attempt_ended(&self, backend: &str, outcome: &'static str) {
        self.attempts.get_or_create(&AttemptLabel { backend: backend.to_owned(), outcome }).inc();
    }

    /// A job spent that long in `phase`.
    pub fn phase(&self, phase: &'static str, took: Duration) {
        self.phases.get_or_create(&PhaseLabel { phase }).observe(took.as_secs_f64());
    }

    /// That many writes were committed together.
    #[expect(clippy::cast_precision_loss, reason = "batches are small")]
    pub fn batch(&self, writes: usize) {
        self.batch.observe(writes as f64);
    }

    /// A request was answered.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.requests
            .get_or_create(&RequestLabel { method: method.clone(), route: route.clone(), status })
            .inc();
        self.request_time.get_or_create(&RouteLabel { method, route }).observe(took.as_secs_f64());
    }

    /// That many jobs of `status` are in the store now.
    pub fn set_jobs(&self, status: Status, jobs: u64) {
        self.jobs
            .get_or_create(&StatusLabel { status: StatusValue(status) })
            .set(i64::try_from(jobs).unwrap_or(i64::MAX));
    }

    /// The oldest queued job is that old now.
    pub fn set_oldest_queued(&self, age: Duration) {
        self.oldest.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    /// How a server stands now.
    pub fn set_backend(&self, backend: &str, up: bool, slots: usize, running: usize) {
        let label = BackendLabel { backend: backend.to_owned() };
        self.up.get_or_create(&label).set(i64::from(up));
        self.slots.get_or_create(&label).set(i64::try_from(slots).unwrap_or(i64::MAX));
        self.running.get_or_create(&label).set(i64::try_from(running).unwrap_or(i64::MAX));
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _: std::fmt::Result = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_told() {
        let metrics = Metrics::new();
        metrics.job_accepted();
        metrics.job_finished(Status::Completed);
        metrics.attempt_ended("gpu-1", "requeued");
        metrics.phase("executing", Duration::from_millis(200));
        metrics.batch(3);
        metrics.request("GET", "/results/{prompt_id}", 200, Duration::from_millis(2));
        metrics.set_jobs(Status::Queued, 4);
        metrics.set_oldest_queued(Duration::from_secs(9));
        metrics.set_backend("gpu-1", true, 2, 1);
        let text = metrics.encode();
        for line in [
            "comfy_gateway_jobs_accepted_total 1",
            r#"comfy_gateway_jobs_finished_total{status="completed"} 1"#,
            r#"comfy_gateway_attempts_total{backend="gpu-1",outcome="requeued"} 1"#,
            r#"comfy_gateway_job_phase_seconds_bucket{le="0.5",phase="executing"} 1"#,
            "comfy_gateway_store_batch_writes_sum 3.0",
            r#"comfy_gateway_http_requests_total{method="GET",route="/results/{prompt_id}",status="200"} 1"#,
            r#"comfy_gateway_http_request_duration_seconds_count{method="GET",route="/results/{prompt_id}"} 1"#,
            r#"comfy_gateway_jobs{status="queued"} 4"#,
            "comfy_gateway_queue_oldest_age_seconds 9",
            r#"comfy_gateway_backend_up{backend="gpu-1"} 1"#,
            r#"comfy_gateway_backend_slots{backend="gpu-1"} 2"#,
            r#"comfy_gateway_backend_running{backend="gpu-1"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
