//! The state that all handlers share, and the limits of requests.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::offload::ParseThreads;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::random::Random;
use crate::service::Service;

/// Limits of requests.
#[derive(Debug, Clone)]
pub struct ApiLimits {
    /// The largest body, in bytes. Uploaded files have their own limit.
    pub max_body: usize,
    /// The most values (members and items) of a JSON body.
    pub max_values: usize,
    /// The most parameters of one request.
    pub max_params: usize,
    /// The longest time for a JSON body to arrive. It is limited because the body is buffered in memory.
    pub body_timeout: Duration,
    /// The longest `timeout` and `queue_timeout`.
    pub max_timeout: Duration,
    /// The longest time that a request can wait for a job to end.
    pub max_wait: Duration,
}

/// The state that all handlers share. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct ApiState {
    /// The use cases.
    pub service: Arc<Service>,
    /// The limits of requests.
    pub limits: ApiLimits,
    /// The threads on which large bodies are parsed.
    pub offload: ParseThreads,
    /// The gateway's URL as clients see it. `None` uses the host of each request.
    pub public_url: Option<Url>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The source of request ids.
    pub random: Arc<Random>,
    /// Counts requests and their durations.
    pub metrics: Arc<Metrics>,
}
