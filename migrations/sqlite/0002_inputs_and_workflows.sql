-- What a job needs on its way in: files of its own, and workflows that have names.

-- A job waits with its files still to be fetched; it is claimed only when it has them all.
ALTER TABLE jobs ADD COLUMN awaits_inputs INTEGER NOT NULL DEFAULT 0 CHECK (awaits_inputs IN (0, 1));
-- The registered workflow it runs, as `name@version`.
ALTER TABLE jobs ADD COLUMN workflow TEXT;
-- The servers that cannot run its graph, as a JSON array of their names.
ALTER TABLE jobs ADD COLUMN not_on TEXT;
-- Its files, as a JSON array of domain::input::JobInput; dropped when the job has ended.
ALTER TABLE job_inputs ADD COLUMN files TEXT;

CREATE INDEX jobs_awaiting ON jobs (seq) WHERE state = 'queued' AND awaits_inputs = 1;
CREATE INDEX job_inputs_files ON job_inputs (seq) WHERE files IS NOT NULL;
CREATE INDEX jobs_workflow ON jobs (workflow, seq) WHERE workflow IS NOT NULL;

CREATE TABLE files (
    file_id      TEXT PRIMARY KEY,
    sha256       TEXT NOT NULL CHECK (length(sha256) = 64),
    bytes        INTEGER NOT NULL CHECK (bytes >= 0),
    filename     TEXT NOT NULL,
    -- By its content, without the dot: its name on a server ends in it.
    extension    TEXT NOT NULL,
    content_type TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX files_sha256 ON files (sha256);
CREATE INDEX files_expiry ON files (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE workflows (
    name        TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    version     INTEGER NOT NULL CHECK (version > 0),
    title       TEXT,
    description TEXT,
    -- The API-format graph that runs.
    graph       TEXT NOT NULL,
    -- The editor's file it was converted from, where it was.
    source      TEXT,
    -- Whether it came from the folder of workflow files.
    from_folder INTEGER NOT NULL CHECK (from_folder IN (0, 1)),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;

-- The last version that a forgotten workflow had, so that no version ever means another graph.
CREATE TABLE forgotten_workflows (
    name         TEXT PRIMARY KEY,
    last_version INTEGER NOT NULL CHECK (last_version > 0)
) STRICT, WITHOUT ROWID;
