//! The script of faults: what fails, on which route, how often. The HTTP routes and the worker carry it out.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use crate::lock::LockExt;

/// The purpose of a request, whatever its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultRoute {
    /// The websocket's handshake.
    Ws,
    /// `POST /prompt`.
    Prompt,
    /// `GET /history`, `GET /history/{id}` and `POST /history`.
    History,
    /// `GET /queue`, `POST /queue` and `GET /prompt`.
    Queue,
    /// `POST /interrupt`.
    Interrupt,
    /// `GET /view`.
    View,
    /// `POST /upload/…`.
    Upload,
    /// `GET /object_info` and `GET /object_info/{class}`.
    ObjectInfo,
    /// `GET /system_stats`.
    SystemStats,
    /// `POST /free`.
    Free,
    /// `GET /api/jobs` and `GET /api/jobs/{id}`.
    Jobs,
    /// All others, such as `/features`; as a fault's target: every request.
    All,
}

/// A fault of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestFault {
    /// Answered with this status and text, and not carried out.
    Status(u16, String),
    /// Not carried out and never answered, until [`FaultScript::release_hanging`].
    Hang,
    /// Carried out but never answered, until [`FaultScript::release_hanging`].
    HangAfter,
    /// Carried out, and answered after this time on the simulator's clock.
    Slow(Duration),
    /// Answered with 200 and a body that is not JSON, and not carried out.
    Garbage,
    /// Answered with 200 and this body, and not carried out.
    Body(String),
    /// Answered with 200 and a body that never ends, and not carried out.
    Endless,
    /// Carried out; the connection breaks in the middle of the body.
    Truncate,
    /// The connection is dropped, and the request is not carried out.
    DropBefore,
    /// Carried out; the connection is dropped without an answer, so the client cannot know.
    DropAfter,
    /// On [`FaultRoute::Ws`]: the socket opens and stays open, but receives nothing.
    Deaf,
}

#[derive(Debug)]
struct ScriptedFaults {
    route: FaultRoute,
    left: Option<usize>,
    fault: RequestFault,
}

/// The faults of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct JobFaults {
    pub(super) out_of_memory: usize,
    pub(super) node_error: usize,
    pub(super) nan: usize,
    pub(super) crash_after: Option<usize>,
}

/// The fault of one job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct JobPlan {
    pub(super) out_of_memory: bool,
    pub(super) node_error: bool,
    pub(super) nan: bool,
    /// The server dies when this many nodes of the job have run.
    pub(super) crash_after: Option<usize>,
}

/// The script of faults. All methods take effect at once and last over restarts.
#[derive(Debug)]
pub struct FaultScript {
    requests: Mutex<Vec<ScriptedFaults>>,
    jobs: Mutex<JobFaults>,
    stuck: watch::Sender<bool>,
    hanging: watch::Sender<u64>,
}

impl FaultScript {
    pub(super) fn new() -> Self {
        Self {
            requests: Mutex::default(),
            jobs: Mutex::default(),
            stuck: watch::Sender::new(false),
            hanging: watch::Sender::new(0),
        }
    }

    /// The next `times` requests for `route` meet `fault`. Earlier scripted faults come first.
    pub fn next(&self, route: FaultRoute, times: usize, fault: RequestFault) {
        self.requests.lock_anyway().push(ScriptedFaults { route, left: Some(times), fault });
    }

    /// Every request for `route` meets `fault` until [`FaultScript::clear`].
    pub fn always(&self, route: FaultRoute, fault: RequestFault) {
        self.requests.lock_anyway().push(ScriptedFaults { route, left: None, fault });
    }

    /// The next `jobs` jobs end in `torch.OutOfMemoryError` at the first node that runs.
    pub fn out_of_memory(&self, jobs: usize) {
        self.jobs.lock_anyway().out_of_memory = jobs;
    }

    /// The next `jobs` jobs end in a `RuntimeError` at the first node that runs.
    pub fn node_error(&self, jobs: usize) {
        self.jobs.lock_anyway().node_error = jobs;
    }

    /// The outputs of the next `jobs` jobs hold a bare `NaN`, on the websocket and in history.
    pub fn nan(&self, jobs: usize) {
        self.jobs.lock_anyway().nan = jobs;
    }

    /// The server dies when the next job has run `nodes` nodes; zero: while it runs its first node.
    pub fn crash_after(&self, nodes: usize) {
        self.jobs.lock_anyway().crash_after = Some(nodes);
    }

    /// The worker takes the next job and never advances it, while HTTP keeps answering, until
    /// [`FaultScript::unstick`].
    pub fn stick_worker(&self) {
        self.stuck.send_replace(true);
    }

    /// Lets a stuck worker continue.
    pub fn unstick(&self) {
        self.stuck.send_replace(false);
    }

    /// Answers every request that hangs. Faults for later requests stay scripted.
    pub fn release_hanging(&self) {
        self.hanging.send_modify(|released| *released += 1);
    }

    /// Clears everything scripted, frees the worker and answers hanging requests.
    pub fn clear(&self) {
        self.requests.lock_anyway().clear();
        *self.jobs.lock_anyway() = JobFaults::default();
        self.unstick();
        self.release_hanging();
    }

    /// The fault for an incoming request, which counts as used.
    pub(super) fn take(&self, route: FaultRoute) -> Option<RequestFault> {
        let mut requests = self.requests.lock_anyway();
        let at = requests.iter().position(|scripted| {
            (scripted.route == route || scripted.route == FaultRoute::All) && scripted.left != Some(0)
        })?;
        let scripted = &mut requests[at];
        let fault = scripted.fault.clone();
        if let Some(left) = &mut scripted.left {
            *left -= 1;
            if *left == 0 {
                requests.remove(at);
            }
        }
        Some(fault)
    }

    /// The faults for a job that begins, which count as used.
    pub(super) fn plan(&self) -> JobPlan {
        let mut jobs = self.jobs.lock_anyway();
        let mut one = |left: fn(&mut JobFaults) -> &mut usize| {
            let left = left(&mut jobs);
            let hit = *left > 0;
            *left = left.saturating_sub(1);
            hit
        };
        JobPlan {
            out_of_memory: one(|jobs| &mut jobs.out_of_memory),
            node_error: one(|jobs| &mut jobs.node_error),
            nan: one(|jobs| &mut jobs.nan),
            crash_after: jobs.crash_after.take(),
        }
    }

    /// Waits while the worker is stuck.
    pub(super) async fn unstuck(&self) {
        let mut stuck = self.stuck.subscribe();
        // The sender lives as long as `self`, so waiting can only end with the condition.
        let _free = stuck.wait_for(|stuck| !stuck).await;
    }

    /// Waits for the next [`FaultScript::release_hanging`].
    pub(super) fn released(&self) -> impl Future<Output = ()> + use<> {
        let mut hanging = self.hanging.subscribe();
        async move {
            // When the script is dropped, nothing hangs either.
            let _changed = hanging.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_used_up_in_order_and_match_their_route() {
        let faults = FaultScript::new();
        faults.next(FaultRoute::Prompt, 1, RequestFault::Garbage);
        faults.next(FaultRoute::All, 2, RequestFault::Hang);
        assert_eq!(faults.take(FaultRoute::View), Some(RequestFault::Hang));
        assert_eq!(faults.take(FaultRoute::Prompt), Some(RequestFault::Garbage));
        assert_eq!(faults.take(FaultRoute::Prompt), Some(RequestFault::Hang));
        assert_eq!(faults.take(FaultRoute::Prompt), None);
        faults.always(FaultRoute::View, RequestFault::DropAfter);
        assert!((0..3).all(|_| faults.take(FaultRoute::View) == Some(RequestFault::DropAfter)));
        faults.clear();
        assert_eq!(faults.take(FaultRoute::View), None);
    }

    #[test]
    fn job_faults_count_down() {
        let faults = FaultScript::new();
        faults.out_of_memory(1);
        faults.crash_after(3);
        let hit = JobPlan { out_of_memory: true, crash_after: Some(3), ..JobPlan::default() };
        assert_eq!(faults.plan(), hit);
        assert_eq!(faults.plan(), JobPlan::default());
    }

    #[tokio::test]
    async fn a_stuck_worker_waits_until_it_is_freed() {
        let faults = FaultScript::new();
        faults.stick_worker();
        let wait = faults.unstuck();
        tokio::pin!(wait);
        assert!(futures_util::poll!(&mut wait).is_pending());
        faults.unstick();
        wait.await;
    }
}
