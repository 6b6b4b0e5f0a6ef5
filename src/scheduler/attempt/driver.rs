//! Carries out what the [`AttemptMachine`] asks for: one request or one wait after the other, and feeds it
//! the answers.

use std::sync::Arc;
use std::time::Duration;

use super::failures::partial_refusal_failure;
use super::machine::{
    AttemptEnd, AttemptLimits, AttemptMachine, AttemptSignals, EarlyEnd, MachineInput, NextStep, RunSighting,
};
use super::outcome::{AttemptOutcome, RequeueDecision};
use super::task::{AttemptOrigin, AttemptTask};
use super::trace::{AttemptTrace, SubmitRefusal};
use crate::comfy::{ComfyError, HistoryEntry};
use crate::domain::requeue::RequeueCause;

impl AttemptTask {
    /// Drives the machine until it reports an end.
    pub(super) async fn drive_machine(&self, origin: AttemptOrigin) -> (AttemptOutcome, AttemptTrace) {
        let mut machine = AttemptMachine::new(self.limits(), origin == AttemptOrigin::Adopted, self.now());
        let mut trace = AttemptTrace::default();
        let mut input = MachineInput::Begin;
        loop {
            input = match machine.step(self.now(), &self.signals(), input) {
                NextStep::Submit => match self.submit(&mut trace).await {
                    Ok(delivery) => MachineInput::Submitted(delivery),
                    Err(outcome) => return (outcome, trace),
                },
                NextStep::Look => MachineInput::Seen(self.look(&mut trace).await),
                NextStep::Glance => MachineInput::Seen(self.look_at_history(&mut trace).await),
                NextStep::Wait(wait) => {
                    self.wait_for_news(wait, &machine).await;
                    MachineInput::Woke
                }
                NextStep::Interrupt => asked_input(self.backend.client().interrupt(&self.id()).await),
                NextStep::Withdraw => asked_input(self.backend.client().delete_queued(&self.id()).await),
                NextStep::Relisten => {
                    self.backend.websocket().mark_deaf();
                    MachineInput::Asked
                }
                NextStep::End(end) => {
                    let entry = trace.entry.take();
                    let outcome = self.outcome(end, entry, &mut trace);
                    return (outcome, trace);
                }
            };
        }
    }

    fn limits(&self) -> AttemptLimits {
        let settings = &self.context.settings;
        AttemptLimits {
            poll: settings.poll,
            lost_after: settings.lost_after,
            refused_for: settings.refused_for,
            interrupt_grace: settings.interrupt_grace,
            run_timeout: self.job.run_timeout,
            stall: settings.stall,
        }
    }

    fn signals(&self) -> AttemptSignals {
        AttemptSignals {
            cancelled: self.cancel.is_cancelled(),
            recalled: self.recall.is_cancelled() || self.backend.is_recalling_jobs(),
            end_heard: self.feed.has_ended(),
            started_at: self.feed.started_at(),
            heard_at: self.feed.last_event_at(),
            at_front: self.is_at_front(),
            listening_since: self.backend.websocket().open_since(),
        }
    }

    /// Whether no other run, ours or foreign, is known to be ahead of this one on the backend.
    fn is_at_front(&self) -> bool {
        let first = self.backend.feeds().all().into_iter().next();
        self.backend.health().foreign_jobs() == 0
            && first.is_some_and(|first| Arc::ptr_eq(&first, &self.feed))
    }

    async fn wait_for_news(&self, wait: Duration, machine: &AttemptMachine) {
        tokio::select! {
            () = self.context.core.clock.sleep(wait) => {}
            () = self.feed.until_ended(), if machine.is_waiting_for_end() => {}
            () = self.cancel.cancelled(), if machine.is_open_to_cancel() => {}
            () = self.recall.cancelled(), if machine.is_open_to_recall() => {}
        }
    }

    async fn look_at_history(&self, trace: &mut AttemptTrace) -> RunSighting {
        match self.backend.client().history(&self.id()).await {
            Ok(Some(entry)) => {
                trace.entry = Some(Box::new(entry));
                RunSighting::Ended
            }
            Ok(None) => RunSighting::Absent,
            Err(error) => sighting_of(&error),
        }
    }

    async fn look(&self, trace: &mut AttemptTrace) -> RunSighting {
        let id = self.id();
        match self.backend.client().queue().await {
            Ok(queue) if queue.running.contains(&id) => RunSighting::Running,
            Ok(queue) if queue.pending.contains(&id) => RunSighting::Pending,
            Ok(_) => self.look_at_history(trace).await,
            Err(error) => sighting_of(&error),
        }
    }

    /// What the machine's end means for the job.
    fn outcome(
        &self,
        end: AttemptEnd,
        entry: Option<Box<HistoryEntry>>,
        trace: &mut AttemptTrace,
    ) -> AttemptOutcome {
        match (end, entry) {
            (AttemptEnd::InHistory(early), Some(entry)) => AttemptOutcome::Ended { entry, early },
            // The machine reports this end only after the entry was read.
            (AttemptEnd::InHistory(_), None) => {
                self.requeue_outcome(RequeueCause::Forgotten { crashed: false }, None)
            }
            (AttemptEnd::Stuck(early), _) => {
                let reason = "a run there does not end although it was interrupted";
                self.backend.health().quarantine(reason.to_owned(), self.job.attempt.id);
                self.early_outcome(early, trace)
            }
            (AttemptEnd::Gone(early), _) => self.early_outcome(early, trace),
            (AttemptEnd::Requeue(cause), _) => self.requeue_outcome(cause, trace.refusal.take()),
        }
    }

    fn early_outcome(&self, early: EarlyEnd, trace: &AttemptTrace) -> AttemptOutcome {
        match early {
            EarlyEnd::Cancel => AttemptOutcome::Cancelled,
            EarlyEnd::Timeout => AttemptOutcome::Failed(self.timeout_failure()),
            EarlyEnd::Stall => AttemptOutcome::Requeue(self.stall_decision()),
            EarlyEnd::InPart => AttemptOutcome::Failed(partial_refusal_failure(&trace.refused_nodes, &[])),
        }
    }

    fn requeue_outcome(&self, cause: RequeueCause, refusal: Option<SubmitRefusal>) -> AttemptOutcome {
        let backend = self.backend.name();
        let mut cause = cause;
        if let RequeueCause::Forgotten { crashed } = &mut cause {
            self.backend.mark_restarted();
            *crashed &= !self.has_backend_outlived_run();
        }
        let reason = match cause {
            RequeueCause::NotAccepted => return AttemptOutcome::Requeue(self.refusal_decision(refusal)),
            RequeueCause::Unreachable => format!("the backend {backend} could not be reached"),
            RequeueCause::NeverSubmitted => {
                format!("the gateway was restarted before the backend {backend} had accepted the job")
            }
            RequeueCause::Recalled if self.backend.is_recalling_jobs() => {
                format!("the job waited on the backend {backend}, which is {}", self.backend.state_name())
            }
            RequeueCause::Recalled => {
                format!("the job waited on the backend {backend} while another backend was idle")
            }
            RequeueCause::Forgotten { .. } => {
                format!("the backend {backend} no longer knows the job; it was probably restarted")
            }
            RequeueCause::WentAway { .. } => format!("the backend {backend} went away while it ran the job"),
            _ => format!("the backend {backend} could not be reached for too long"),
        };
        AttemptOutcome::Requeue(RequeueDecision::new(cause, reason))
    }

    fn refusal_decision(&self, refusal: Option<SubmitRefusal>) -> RequeueDecision {
        let backend = self.backend.name();
        let Some(SubmitRefusal { how, fault, is_of_job }) = refusal else {
            let reason = format!("the backend {backend} did not accept the job");
            return RequeueDecision::new(RequeueCause::NotAccepted, reason);
        };
        let cause = if is_of_job { RequeueCause::Refused } else { RequeueCause::NotAccepted };
        RequeueDecision::new(cause, format!("the backend {backend} {how} ({fault})"))
            .logged_as(format!("the backend {backend} {how} ({})", fault.brief()))
    }

    /// The decision about a run that showed no progress.
    pub(super) fn stall_decision(&self) -> RequeueDecision {
        let limit = self.context.settings.stall.as_secs_f64();
        let backend = self.backend.name();
        let reason =
            format!("the run on the backend {backend} showed no progress for {limit} s and was interrupted");
        RequeueDecision::new(RequeueCause::Stalled, reason)
    }

    /// Whether the backend has been up all the time since the run began: its websocket is older and still open.
    fn has_backend_outlived_run(&self) -> bool {
        let since = self.backend.websocket().open_since().zip(self.feed.started_at());
        since.is_some_and(|(listening, started)| listening <= started)
    }
}

fn asked_input(answer: Result<(), ComfyError>) -> MachineInput {
    if let Err(error) = answer {
        tracing::debug!(%error, "the request that ends a run failed; trying again");
    }
    MachineInput::Asked
}

fn sighting_of(error: &ComfyError) -> RunSighting {
    if error.is_refused() {
        return RunSighting::Refused;
    }
    tracing::debug!(%error, "the backend did not answer about a run");
    RunSighting::Unreachable
}
