//! Why a job goes back to the queue, and what follows from each cause.
//!
//! The attempt names the cause; the store, the retry budget, the circuit breaker and the attempt's record all
//! derive what they need from it.

use super::failure::FailureCode;

/// Why an attempt ended without ending its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequeueCause {
    /// Nothing listened at the backend's address, so it never received the job.
    Unreachable,
    /// The job was taken over from another process, and the backend has never seen it.
    NeverSubmitted,
    /// The job only waited in the backend's own queue and was withdrawn, for a drain or for an idle backend.
    Recalled,
    /// The gateway stopped between the claim and the submit.
    GatewayStopped,
    /// The backend was removed from the pool.
    BackendRemoved,
    /// The backend lacks something that the workflow needs. The job is not offered to it again.
    CannotRun,
    /// The backend did not accept the job or one of its input files.
    NotAccepted,
    /// The backend turned this job away without a reason, although it judges other submissions.
    Refused,
    /// The backend restarted and no longer knows the run.
    Forgotten {
        /// Whether the run is taken to have crashed it.
        crashed: bool,
    },
    /// The backend refuses connections.
    WentAway {
        /// Whether the run is taken to have crashed it.
        crashed: bool,
    },
    /// The backend has not answered for longer than the scheduler waits.
    OutOfReach,
    /// The run showed no progress and was interrupted.
    Stalled,
    /// The run failed in a way that another run may not.
    RunFailed(FailureCode),
    /// The outputs came from ComfyUI's cache, where they are empty or their files are gone.
    OutputsGone,
    /// The backend went away before its output files were downloaded.
    OutputsUnreachable,
}

impl RequeueCause {
    /// Whether the attempt counts against the job's retry budget. It does not when no backend has run the job.
    #[must_use]
    pub const fn counts(self) -> bool {
        !matches!(
            self,
            Self::Unreachable
                | Self::NeverSubmitted
                | Self::Recalled
                | Self::GatewayStopped
                | Self::BackendRemoved
                | Self::CannotRun
        )
    }

    /// The `outcome` of the attempt in the job's history: one stable word.
    #[must_use]
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::CannotRun => "cannot_run",
            Self::Refused => "refused",
            Self::Stalled => "stalled",
            _ if !self.counts() => "not_run",
            _ => self.failure_code().as_str(),
        }
    }

    /// What the job fails with when its retry budget is spent.
    #[must_use]
    pub const fn failure_code(self) -> FailureCode {
        match self {
            Self::RunFailed(code) => code,
            Self::Refused => FailureCode::InvalidWorkflow,
            Self::OutputsGone => FailureCode::OutputUnavailable,
            _ => FailureCode::BackendLost,
        }
    }

    /// Whether the run is taken to have crashed its backend.
    #[must_use]
    pub const fn is_crash(self) -> bool {
        matches!(self, Self::Forgotten { crashed: true } | Self::WentAway { crashed: true })
    }

    /// Whether the next run bypasses ComfyUI's cache.
    #[must_use]
    pub const fn is_stale_cache(self) -> bool {
        matches!(self, Self::OutputsGone)
    }

    /// Whether the backend turned the job itself away without a reason.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Refused)
    }

    /// Whether the job is not offered to this backend again.
    #[must_use]
    pub const fn is_exclusion(self) -> bool {
        matches!(self, Self::CannotRun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_a_backend_had_counts_against_the_budget() {
        for cause in [
            RequeueCause::Unreachable,
            RequeueCause::NeverSubmitted,
            RequeueCause::Recalled,
            RequeueCause::GatewayStopped,
            RequeueCause::BackendRemoved,
        ] {
            assert!(!cause.counts(), "{cause:?}");
            assert_eq!(cause.outcome(), "not_run", "{cause:?}");
        }
        assert_eq!(
            (RequeueCause::CannotRun.counts(), RequeueCause::CannotRun.outcome()),
            (false, "cannot_run")
        );
        for cause in [RequeueCause::NotAccepted, RequeueCause::OutOfReach, RequeueCause::OutputsUnreachable] {
            assert!(cause.counts(), "{cause:?}");
            assert_eq!(cause.outcome(), "backend_lost", "{cause:?}");
        }
    }

    #[test]
    fn a_spent_budget_fails_the_job_with_the_code_of_its_last_cause() {
        let of = RequeueCause::failure_code;
        assert_eq!(of(RequeueCause::Refused), FailureCode::InvalidWorkflow);
        assert_eq!(of(RequeueCause::RunFailed(FailureCode::OutOfMemory)), FailureCode::OutOfMemory);
        assert_eq!(of(RequeueCause::OutputsGone), FailureCode::OutputUnavailable);
        assert_eq!(of(RequeueCause::Stalled), FailureCode::BackendLost);
    }
}
