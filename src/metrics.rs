//! Every metric of the gateway, named in this one place.
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

use crate::domain::job::JobStatus;

/// One status of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabel {
    status: StatusValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct StatusValue(JobStatus);

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

/// A phase of a job's time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PhaseLabel {
    phase: &'static str,
}

/// The label of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BackendLabel {
    backend: String,
}

/// The labels of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabel {
    method: String,
    route: String,
    status: u16,
}

/// The label of a route.
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
    foreign: Family<BackendLabel, Gauge>,
    faults: Family<BackendLabel, Counter>,
}

/// The state of one backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackendFigures {
    /// Whether its health allows it work.
    pub up: bool,
    /// The jobs of ours that it may run at once now.
    pub slots: usize,
    /// The jobs of ours that it has.
    pub running: usize,
    /// Foreign jobs in its queue.
    pub foreign: u64,
    /// Runs that it failed since the start.
    pub faults: u64,
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
    /// Metrics with all counts at zero.
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
            foreign: Family::default(),
            faults: Family::default(),
        };
        registry.register("jobs_accepted", "Jobs answered with 202", this.accepted.clone());
        registry.register("jobs_finished", "Jobs that ended, by status", this.finished.clone());
        registry.register("attempts", "Attempts that ended, by backend and outcome", this.attempts.clone());
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
        registry.register("backend_up", "Whether the backend is usable", this.up.clone());
        let help = "Jobs that the backend may run at once; 0 while it takes none";
        registry.register("backend_slots", help, this.slots.clone());
        registry.register("backend_running", "Jobs of this gateway on the backend", this.running.clone());
        let help = "Foreign jobs in the backend's queue";
        registry.register("backend_foreign", help, this.foreign.clone());
        let help = "Runs that the backend failed since the start";
        registry.register("backend_faults", help, this.faults.clone());
        Self { registry, ..this }
    }

    /// Counts an accepted job.
    pub fn job_accepted(&self) {
        self.accepted.inc();
    }

    /// Counts an ended job.
    pub fn job_finished(&self, status: JobStatus) {
        self.finished.get_or_create(&StatusLabel { status: StatusValue(status) }).inc();
    }

    /// Counts an ended attempt.
    pub fn attempt_ended(&self, backend: &str, outcome: &'static str) {
        self.attempts.get_or_create(&AttemptLabel { backend: backend.to_owned(), outcome }).inc();
    }

    /// Records the time that a job spent in `phase`.
    pub fn phase(&self, phase: &'static str, took: Duration) {
        self.phases.get_or_create(&PhaseLabel { phase }).observe(took.as_secs_f64());
    }

    /// Records the number of writes committed together.
    #[expect(clippy::cast_precision_loss, reason = "batches are small")]
    pub fn batch(&self, writes: usize) {
        self.batch.observe(writes as f64);
    }

    /// Counts an answered request and records how long it took.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.requests
            .get_or_create(&RequestLabel { method: method.clone(), route: route.clone(), status })
            .inc();
        self.request_time.get_or_create(&RouteLabel { method, route }).observe(took.as_secs_f64());
    }

    /// Sets the number of jobs of `status` in the store.
    pub fn set_jobs(&self, status: JobStatus, jobs: u64) {
        self.jobs
            .get_or_create(&StatusLabel { status: StatusValue(status) })
            .set(i64::try_from(jobs).unwrap_or(i64::MAX));
    }

    /// Sets the age of the oldest queued job.
    pub fn set_oldest_queued(&self, age: Duration) {
        self.oldest.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    /// Sets the state of every backend, and drops the metrics of backends that are gone.
    pub fn set_backends<'a>(&self, backends: impl Iterator<Item = (&'a str, BackendFigures)>) {
        let families = [&self.up, &self.slots, &self.running, &self.foreign];
        families.into_iter().for_each(Family::clear);
        self.faults.clear();
        for (backend, figures) in backends {
            let label = BackendLabel { backend: backend.to_owned() };
            let whole = |figure: usize| i64::try_from(figure).unwrap_or(i64::MAX);
            let long = |figure: u64| i64::try_from(figure).unwrap_or(i64::MAX);
            self.up.get_or_create(&label).set(i64::from(figures.up));
            self.slots.get_or_create(&label).set(whole(figures.slots));
            self.running.get_or_create(&label).set(whole(figures.running));
            self.foreign.get_or_create(&label).set(long(figures.foreign));
            // The backends count; what was told before was cleared.
            self.faults.get_or_create(&label).inc_by(figures.faults);
        }
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
        metrics.job_finished(JobStatus::Completed);
        metrics.attempt_ended("gpu-1", "requeued");
        metrics.phase("executing", Duration::from_millis(200));
        metrics.batch(3);
        metrics.request("GET", "/results/{prompt_id}", 200, Duration::from_millis(2));
        metrics.set_jobs(JobStatus::Queued, 4);
        metrics.set_oldest_queued(Duration::from_secs(9));
        let removed = BackendFigures { up: true, ..BackendFigures::default() };
        metrics.set_backends([("removed", removed)].into_iter());
        let figures = BackendFigures { up: true, slots: 2, running: 1, foreign: 3, faults: 4 };
        metrics.set_backends([("gpu-1", figures)].into_iter());
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
            r#"comfy_gateway_backend_foreign{backend="gpu-1"} 3"#,
            "# TYPE comfy_gateway_backend_faults counter",
            r#"comfy_gateway_backend_faults_total{backend="gpu-1"} 4"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
