-- Whether a job may run although some of its outputs cannot. Jobs of before were accepted on those terms.
ALTER TABLE jobs ADD COLUMN partial INTEGER NOT NULL DEFAULT 1 CHECK (partial IN (0, 1));

-- Outputs that a completed job did not make: a JSON list of node_id, var and reason.
ALTER TABLE job_outputs ADD COLUMN dropped_outputs TEXT;

-- How often a backend turned the job away without a reason while it judged other submissions.
ALTER TABLE jobs ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0 CHECK (refusals >= 0);
