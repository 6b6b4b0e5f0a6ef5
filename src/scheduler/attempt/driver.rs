//! Doing what an attempt's [`AttemptMachine`] says: one request or one wait after the other, each answer told to it.

use std::sync::Arc;
use std::time::Duration;

use super::machine::{
    AttemptEnd, AttemptLimits, AttemptMachine, AttemptSignals, EarlyEnd, Loss, MachineInput, NextStep,
    NotRun, RunSighting,
};
use super::outcome::{AttemptOutcome, Retry, refused_in_part};
use super::submit::SubmitRefusal;
use super::task::{AttemptOrigin, AttemptTask, Moments};
use crate::comfy::{ComfyError, HistoryEntry, NodeErrors};

/// What a course leaves behind besides its end.
#[derive(Debug, Default)]
pub(super) struct AttemptTrace {
    pub moments: Moments,
    /// The nodes for which ComfyUI refused a part of the workflow.
    pub refused_nodes: NodeErrors,
    /// What the server said when it did not take the job.
    pub refusal: Option<SubmitRefusal>,
    /// The history's entry, if there is one.
    entry: Option<Box<HistoryEntry>>,
}

impl AttemptTask {
    /// Follows the course from the hand-over to the proof of its end.
    pub(super) async fn follow(&self, origin: AttemptOrigin) -> (AttemptOutcome, AttemptTrace) {
        let mut course = AttemptMachine::new(self.patience(), origin == AttemptOrigin::Adopted, self.now());
        let mut trail = AttemptTrace::default();
        let mut input = MachineInput::Begin;
        loop {
            input = match course.step(self.now(), &self.signals(), input) {
                NextStep::Submit => match self.submit(&mut trail).await {
                    Ok(delivery) => MachineInput::Submitted(delivery),
                    Err(verdict) => return (verdict, trail),
                },
                NextStep::Look => MachineInput::Seen(self.look(&mut trail).await),
                NextStep::Glance => MachineInput::Seen(self.glance(&mut trail).await),
                NextStep::Wait(wait) => {
                    self.wait(wait, &course).await;
                    MachineInput::Woke
                }
                NextStep::Interrupt => asked(self.backend.client().interrupt(&self.id()).await),
                NextStep::Withdraw => asked(self.backend.client().delete_queued(&self.id()).await),
                NextStep::Relisten => {
                    self.backend.websocket().mark_deaf();
                    MachineInput::Asked
                }
                NextStep::End(end) => {
                    let entry = trail.entry.take();
                    let verdict = self.verdict(end, entry, &mut trail);
                    return (verdict, trail);
                }
            };
        }
    }

    fn patience(&self) -> AttemptLimits {
        let settings = &self.parts.settings;
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
            wanted_back: self.recall.is_cancelled() || self.backend.is_recalling_jobs(),
            end_heard: self.feed.has_ended(),
            started_at: self.feed.started_at(),
            heard_at: self.feed.last_event_at(),
            at_front: self.is_at_front(),
            listening_since: self.backend.websocket().open_since(),
        }
    }

    /// Whether no run that the server has, of ours or of others, is known to be before this one.
    fn is_at_front(&self) -> bool {
        let first = self.backend.feeds().all().into_iter().next();
        self.backend.health().foreign_jobs() == 0
            && first.is_some_and(|first| Arc::ptr_eq(&first, &self.feed))
    }

    async fn wait(&self, wait: Duration, course: &AttemptMachine) {
        tokio::select! {
            () = self.parts.clock.sleep(wait) => {}
            () = self.feed.until_ended(), if course.listens_for_end() => {}
            () = self.cancel.cancelled(), if course.listens_for_cancel() => {}
            () = self.recall.cancelled(), if course.listens_for_recall() => {}
        }
    }

    async fn glance(&self, trail: &mut AttemptTrace) -> RunSighting {
        match self.backend.client().history(&self.id()).await {
            Ok(Some(entry)) => {
                trail.entry = Some(Box::new(entry));
                RunSighting::Ended
            }
            Ok(None) => RunSighting::Absent,
            Err(error) => sighting_of(&error),
        }
    }

    async fn look(&self, trail: &mut AttemptTrace) -> RunSighting {
        let id = self.id();
        match self.backend.client().queue().await {
            Ok(queue) if queue.running.contains(&id) => RunSighting::Running,
            Ok(queue) if queue.pending.contains(&id) => RunSighting::Pending,
            Ok(_) => self.glance(trail).await,
            Err(error) => sighting_of(&error),
        }
    }

    /// What the end of the course means for the job.
    fn verdict(
        &self,
        end: AttemptEnd,
        entry: Option<Box<HistoryEntry>>,
        trail: &mut AttemptTrace,
    ) -> AttemptOutcome {
        match (end, entry) {
            (AttemptEnd::InHistory(early), Some(entry)) => AttemptOutcome::Ended { entry, early },
            // The course says so only of a run whose entry was read.
            (AttemptEnd::InHistory(_), None) => {
                AttemptOutcome::Retry(self.lost(Loss::Forgotten { running: false }, None))
            }
            (AttemptEnd::Stuck(early), _) => {
                let reason = "a run there does not end although it was interrupted";
                self.backend.health().quarantine(reason.to_owned(), self.job.attempt.id);
                self.ended_early(early, trail)
            }
            (AttemptEnd::Gone(early), _) => self.ended_early(early, trail),
            (AttemptEnd::NotRun(why), _) => AttemptOutcome::Retry(Retry::not_run(self.not_run(why))),
            (AttemptEnd::Lost(loss), _) => AttemptOutcome::Retry(self.lost(loss, trail.refusal.take())),
        }
    }

    fn ended_early(&self, early: EarlyEnd, trail: &AttemptTrace) -> AttemptOutcome {
        match early {
            EarlyEnd::Cancel => AttemptOutcome::Cancelled,
            EarlyEnd::Timeout => AttemptOutcome::Failed(self.overdue()),
            EarlyEnd::Stall => AttemptOutcome::Retry(self.stalled()),
            EarlyEnd::InPart => AttemptOutcome::Failed(refused_in_part(&trail.refused_nodes, &[])),
        }
    }

    /// What is said of a run that showed no progress.
    pub(super) fn stalled(&self) -> Retry {
        let limit = self.parts.settings.stall.as_secs_f64();
        let server = self.backend.name();
        let reason = format!("the run on {server} showed no progress for {limit} s and was interrupted");
        Retry { outcome: "stalled", ..Retry::lost(reason) }
    }

    fn not_run(&self, why: NotRun) -> String {
        let server = self.backend.name();
        match why {
            NotRun::Unreachable => format!("the server {server} could not be reached"),
            NotRun::NeverArrived => {
                format!("the gateway was restarted before the server {server} had taken the job")
            }
            NotRun::Recalled if self.backend.is_recalling_jobs() => {
                format!("it waited on the server {server}, which is {}", self.backend.state_name())
            }
            NotRun::Recalled => format!("it waited on {server} while another server had nothing to do"),
        }
    }

    /// Whether its server has been up all the time since the run began: its websocket is older and still stands.
    fn has_outlived_the_run(&self) -> bool {
        let since = self.backend.websocket().open_since().zip(self.feed.started_at());
        since.is_some_and(|(listening, started)| listening <= started)
    }

    fn lost(&self, loss: Loss, refusal: Option<SubmitRefusal>) -> Retry {
        let server = self.backend.name();
        let how = match loss {
            Loss::NotTaken => {
                let Some(SubmitRefusal { how, fault, of_this_job }) = refusal else {
                    return Retry::lost(format!("the server {server} did not take the job"));
                };
                let brief = format!("the server {server} {how} ({})", fault.brief());
                let reason = format!("the server {server} {how} ({fault})");
                let retry = if of_this_job { Retry::refused(reason) } else { Retry::lost(reason) };
                return retry.said_as(brief);
            }
            Loss::Forgotten { .. } => "the server no longer knows the job; it was probably restarted",
            Loss::WentAway { .. } => "the server went away while it ran the job",
            Loss::OutOfReach => "the server could not be reached for too long",
        };
        if matches!(loss, Loss::Forgotten { .. }) {
            self.backend.mark_restarted();
        }
        let downed = match loss {
            Loss::WentAway { running } => running,
            Loss::Forgotten { running } => running && !self.has_outlived_the_run(),
            Loss::NotTaken | Loss::OutOfReach => false,
        };
        Retry { downed, ..Retry::lost(format!("{server} ({how})")) }
    }
}

fn asked(answer: Result<(), ComfyError>) -> MachineInput {
    if let Err(error) = answer {
        tracing::debug!(%error, "a run could not be ended early yet");
    }
    MachineInput::Asked
}

fn sighting_of(error: &ComfyError) -> RunSighting {
    if error.is_refused() {
        return RunSighting::Refused;
    }
    tracing::debug!(%error, "no answer about a run");
    RunSighting::Unreachable
}
