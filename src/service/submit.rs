//! Accepts a job: reads its workflow, binds its parameters, gathers its inputs, and stores the job.

use std::time::Duration;

use super::fitness::{BackendFitness, explain_unfit, no_backend_can, unable_backends};
use super::source::ResolvedWorkflow;
use super::state::Service;
use super::submission::{JobOptions, JobRequirements, JobSubmission};
use super::submit_error::SubmitError;
use crate::domain::binding::BindingPlan;
use crate::domain::id::{BackendName, PromptId};
use crate::domain::job::NewJob;
use crate::domain::needs::JobNeeds;
use crate::domain::time::UnixMillis;
use crate::domain::workflow::Workflow;
use crate::lock::LockExt;

/// The shortest time between two counts of the queue.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// The backends that cannot run a job, and the message for its caller if only backends that are down can.
struct UnableBackends {
    not_on: Vec<BackendName>,
    msg: Option<String>,
}

impl Service {
    /// Accepts a job. The job is on disk when this returns.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was accepted.
    pub async fn submit(&self, submission: JobSubmission<'_>) -> Result<PromptId, SubmitError> {
        let ResolvedWorkflow { graph, label } = self.resolve(submission.workflow).await?;
        let workflow = self.parse_workflow(&graph)?;
        let params = self.declared_params(&workflow)?;
        let plan = params.plan(&submission.params).map_err(SubmitError::InvalidParams)?;
        let created_at = self.core.clock.now();
        self.admit(created_at).await?;
        // Check the job before storing any file, so that a rejected job leaves nothing behind.
        let options = submission.options;
        let UnableBackends { not_on, msg } = self.find_unable(&plan, &options).await?;
        let prompt_id = self.core.random.prompt_id(created_at);
        let gathered = self.gather(prompt_id, plan.media(), submission.parts, submission.own_url).await?;
        let bound = plan.bind(&gathered.names, &mut || self.core.random.seed());
        let needs = Workflow::parse(&bound.graph).map(|workflow| JobNeeds::of(&workflow)).unwrap_or_default();
        let JobRequirements { labels, backend } = options.requires;
        let job = NewJob {
            prompt_id,
            needs: JobNeeds { labels, backend, ..needs },
            graph: bound.graph.into(),
            priority: options.priority,
            run_timeout: options.timeout.unwrap_or(self.limits.default_timeout),
            queue_timeout: options.queue_timeout,
            metadata: options.metadata,
            caller: options.caller,
            max_attempts: options.max_attempts,
            partial: options.partial,
            msg,
            seeds: bound.seeds,
            files: gathered.files,
            workflow: label,
            not_on,
            created_at,
        };
        let awaits_inputs = job.awaits_inputs();
        self.core.store.insert(job).await?;
        self.core.metrics.job_accepted();
        if awaits_inputs {
            self.core.hub.notify_inputs();
        } else {
            self.core.hub.notify_work();
        }
        tracing::info!(%prompt_id, priority = options.priority, "job accepted");
        Ok(prompt_id)
    }

    /// Finds the backends that cannot run a job.
    ///
    /// # Errors
    /// [`SubmitError::Unfit`] if no backend can run the job, or none of those that the job requires.
    async fn find_unable(
        &self,
        plan: &BindingPlan<'_, '_>,
        options: &JobOptions,
    ) -> Result<UnableBackends, SubmitError> {
        let mut fits = self.check_fitness(plan, options.partial).await?;
        let not_on = unable_backends(&fits);
        let found = |fit: &BackendFitness| self.core.pool.find(&fit.backend);
        fits.retain(|fit| found(fit).is_some_and(|backend| options.requires.accept(&backend)));
        if no_backend_can(&fits) {
            return Err(SubmitError::Unfit(explain_unfit(&fits, plan)));
        }
        fits.retain(|fit| found(fit).is_some_and(|backend| backend.health().is_usable()));
        let missing =
            no_backend_can(&fits).then(|| explain_unfit(&fits, plan).faults.into_iter().next()).flatten();
        let msg = missing.map(|fault| format!("the backends that are up cannot run it: {}", fault.message));
        Ok(UnableBackends { not_on, msg })
    }

    /// Rejects a job if the queue is full. The queue is counted at most once a second. Between counts,
    /// accepted jobs add to the count, and jobs that leave the queue do not reduce it.
    async fn admit(&self, now: UnixMillis) -> Result<(), SubmitError> {
        let limit = self.limits.max_queued;
        let known = *self.queued.lock_anyway();
        let count = match known {
            Some((at, count)) if now.since(at) < COUNT_INTERVAL => (at, count),
            _ => (now, self.core.store.queued().await?),
        };
        if count.1 >= limit {
            return Err(SubmitError::QueueFull { limit });
        }
        let mut known = self.queued.lock_anyway();
        *known = match *known {
            Some((at, others)) if at >= count.0 => Some((at, others + 1)),
            _ => Some((count.0, count.1 + 1)),
        };
        Ok(())
    }
}
