-- The queue, the results and who owns them. A job's row is small and changes often; its graph and its
-- outputs are large and written once, so they stand in tables of their own.
-- Times are milliseconds since the Unix epoch. The CHECKs mirror src/domain/transition.rs.

CREATE TABLE gateway (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    gateway_id TEXT NOT NULL
) STRICT;

CREATE TABLE jobs (
    seq              INTEGER PRIMARY KEY,
    prompt_id        TEXT NOT NULL UNIQUE,
    state            TEXT NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    priority         INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    run_timeout_ms   INTEGER NOT NULL CHECK (run_timeout_ms > 0),
    queue_timeout_ms INTEGER CHECK (queue_timeout_ms >= 0),
    not_before       INTEGER NOT NULL,
    queue_deadline   INTEGER,
    -- The number of the latest attempt: with the lease's owner it fences every change of a running job.
    attempt          INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- Attempts that count against the retry budget.
    failures         INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0 AND failures <= attempt),
    attempt_id       TEXT,
    backend          TEXT,
    started_at       INTEGER,
    lease_owner      TEXT,
    lease_until      INTEGER,
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    finished_at      INTEGER,
    expires_at       INTEGER,
    msg              TEXT,
    failure          TEXT,
    queued_ms        INTEGER,
    preparing_ms     INTEGER,
    executing_ms     INTEGER,
    collecting_ms    INTEGER,
    CHECK ((state = 'running') = (lease_owner IS NOT NULL)),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK (state <> 'running'
           OR (attempt > 0 AND attempt_id IS NOT NULL AND backend IS NOT NULL AND started_at IS NOT NULL)),
    CHECK (state <> 'queued' OR cancel_requested = 0),
    CHECK ((state IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'failed') = (failure IS NOT NULL)),
    CHECK (expires_at IS NULL OR finished_at IS NOT NULL)
) STRICT;

-- The order of claiming: the highest priority, then first come first served.
CREATE INDEX jobs_queue ON jobs (priority DESC, seq) WHERE state = 'queued';
CREATE INDEX jobs_queue_deadline ON jobs (queue_deadline) WHERE state = 'queued' AND queue_deadline IS NOT NULL;
CREATE INDEX jobs_running ON jobs (lease_owner) WHERE state = 'running';
CREATE INDEX jobs_state ON jobs (state, seq);
CREATE INDEX jobs_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE job_inputs (
    seq      INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    graph    TEXT NOT NULL,
    metadata TEXT,
    seeds    TEXT
) STRICT;

CREATE TABLE job_outputs (
    seq     INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    outputs TEXT,
    texts   TEXT
) STRICT;

CREATE TABLE media (
    seq          INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    position     INTEGER NOT NULL,
    var          TEXT NOT NULL,
    node_id      TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('image', 'video', 'audio', 'file')),
    stored_as    TEXT NOT NULL,
    filename     TEXT NOT NULL,
    content_type TEXT NOT NULL,
    bytes        INTEGER NOT NULL CHECK (bytes >= 0),
    sha256       TEXT NOT NULL CHECK (length(sha256) = 64),
    PRIMARY KEY (seq, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    seq         INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    number      INTEGER NOT NULL CHECK (number > 0),
    attempt_id  TEXT NOT NULL,
    backend     TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    outcome     TEXT,
    PRIMARY KEY (seq, number),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;

-- Ids of jobs that were deleted or whose retention ended, so that they can be told from unknown ones.
CREATE TABLE tombstones (
    prompt_id TEXT PRIMARY KEY,
    gone_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstones_age ON tombstones (gone_at);
