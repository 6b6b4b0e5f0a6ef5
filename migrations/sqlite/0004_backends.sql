-- ComfyUI servers that were added at run time, and what operators want of servers.

CREATE TABLE backends (
    -- The order in which they were added.
    seq        INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
    -- May hold a user and a password.
    url        TEXT NOT NULL,
    slots      INTEGER NOT NULL CHECK (slots > 0),
    -- A JSON array of texts.
    labels     TEXT NOT NULL,
    bearer     TEXT,
    cookies    TEXT,
    -- A JSON array of pairs of name and value.
    headers    TEXT NOT NULL,
    api_key    TEXT,
    created_at INTEGER NOT NULL
) STRICT;

-- By name, for the servers of the configuration too. A server without a row is open.
CREATE TABLE backend_modes (
    name TEXT PRIMARY KEY,
    mode TEXT NOT NULL CHECK (mode IN ('cordoned', 'draining'))
) STRICT, WITHOUT ROWID;
