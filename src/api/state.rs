//! What every handler works with.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::offload::ParseThreads;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::random::Random;
use crate::service::Service;

/// Limits of what a request may ask for.
#[derive(Debug, Clone)]
pub struct ApiLimits {
    /// The largest body, in bytes.
    pub max_body: usize,
    /// The most values (members and items) of a JSON body.
    pub max_values: usize,
    /// The most parameters of one request.
    pub max_params: usize,
    /// How long a JSON body may take to arrive: it is kept in memory meanwhile.
    pub body_timeout: Duration,
    /// The longest `timeout` and `queue_timeout`.
    pub max_timeout: Duration,
    /// The longest wait for a job to end.
    pub max_wait: Duration,
}

/// The state of the API.
#[derive(Debug, Clone)]
pub struct ApiState {
    /// The use cases.
    pub service: Arc<Service>,
    /// What requests may ask for.
    pub limits: ApiLimits,
    /// Where large bodies are judged.
    pub offload: ParseThreads,
    /// The gateway's address as clients see it; `None` takes the request's own host.
    pub public_url: Option<Url>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The source of request ids.
    pub random: Arc<Random>,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
}
