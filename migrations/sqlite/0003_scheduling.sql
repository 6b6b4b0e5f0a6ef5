-- What the dispatcher goes by: whose a job is, what it asks of a server, and what became of its attempts.

-- Grows with every transaction that lets the job wait: the dispatcher reads on from the last one it has seen.
ALTER TABLE jobs ADD COLUMN rev INTEGER NOT NULL DEFAULT 0;
-- Whose it is; the empty text unless the caller says.
ALTER TABLE jobs ADD COLUMN caller TEXT NOT NULL DEFAULT '';
-- How many attempts may fail; the gateway's setting if NULL.
ALTER TABLE jobs ADD COLUMN max_attempts INTEGER CHECK (max_attempts > 0);
-- What it asks of its server, as JSON (domain::needs::Needs).
ALTER TABLE jobs ADD COLUMN needs TEXT;
-- The servers that went down while they ran it, as a JSON array of their names.
ALTER TABLE jobs ADD COLUMN downed TEXT;
-- Whether its next run is not to take anything from ComfyUI's cache.
ALTER TABLE jobs ADD COLUMN fresh INTEGER NOT NULL DEFAULT 0 CHECK (fresh IN (0, 1));
-- Why the attempt ended as it did, in words.
ALTER TABLE attempts ADD COLUMN reason TEXT;

-- The order of claiming is the dispatcher's; this is the order in which it learns of jobs.
DROP INDEX jobs_queue;
CREATE INDEX jobs_queue ON jobs (rev, seq) WHERE state = 'queued';

-- What earlier runs of workflows of one shape took, so that the next can be placed and foretold.
CREATE TABLE shapes (
    shape    TEXT PRIMARY KEY,
    -- Milliseconds of execution with the models loaded, and without; NULL until seen.
    warm_ms  INTEGER CHECK (warm_ms >= 0),
    cold_ms  INTEGER CHECK (cold_ms >= 0),
    -- The most memory (bytes) of a device on which it ran out of memory.
    oom_vram INTEGER CHECK (oom_vram >= 0),
    used_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX shapes_age ON shapes (used_at);
