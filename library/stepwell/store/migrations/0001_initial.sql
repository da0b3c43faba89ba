-- Workflows: a name points at its current version; versions are immutable and named by their hash.
CREATE TABLE versions (
    hash        TEXT PRIMARY KEY,
    source      TEXT NOT NULL,
    analysis    TEXT NOT NULL CHECK (json_valid(analysis)),  -- model.Version without source and hash
    created_at  REAL NOT NULL
) STRICT;

CREATE TABLE workflows (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    version     TEXT NOT NULL REFERENCES versions (hash),
    description TEXT NOT NULL,
    tags        TEXT NOT NULL CHECK (json_valid(tags)),
    intents     TEXT NOT NULL CHECK (json_valid(intents)),
    origin      TEXT NOT NULL,
    pinned      INTEGER NOT NULL DEFAULT 0,
    created_at  REAL NOT NULL,                               -- of the current version, unix seconds
    deleted_at  REAL
) STRICT;

CREATE TABLE workflow_versions (
    name        TEXT NOT NULL,
    ordinal     INTEGER NOT NULL,
    version     TEXT NOT NULL REFERENCES versions (hash),
    description TEXT NOT NULL,
    created_at  REAL NOT NULL,
    PRIMARY KEY (name, ordinal)
) STRICT, WITHOUT ROWID;

CREATE VIRTUAL TABLE workflows_text USING fts5 (
    name, description, intents, parameters, body, tokenize = "porter unicode61 remove_diacritics 2"
);

-- One process that executes runs. Its lease is renewed as a whole; a run it holds is fenced by runs.epoch.
CREATE TABLE workers (
    id          TEXT PRIMARY KEY,
    pid         INTEGER NOT NULL,
    boot_id     TEXT NOT NULL,
    lease_until REAL NOT NULL,                               -- monotonic seconds of that boot
    started_at  REAL NOT NULL,
    info        TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(info))
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    id              TEXT PRIMARY KEY,
    workflow        TEXT NOT NULL,
    version         TEXT NOT NULL REFERENCES versions (hash),
    status          TEXT NOT NULL CHECK (status IN ('pending', 'running', 'sleeping', 'waiting', 'in_doubt',
                        'completed', 'terminated', 'failed', 'rejected', 'cancelled', 'dead')),
    input           BLOB NOT NULL,                           -- JSON
    output          BLOB,                                    -- codec JSON
    error           TEXT CHECK (error IS NULL OR json_valid(error)),
    reason          TEXT,                                    -- of a termination, rejection or cancel
    parent_id       TEXT,
    parent_key      TEXT,
    root_id         TEXT NOT NULL,
    depth           INTEGER NOT NULL DEFAULT 0,
    chain           TEXT NOT NULL DEFAULT '[]',              -- workflow names from the root to the parent
    session_id      TEXT,
    user_id         TEXT,
    idempotency_key TEXT,
    seed            TEXT NOT NULL,
    options         TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(options)),
    owner           TEXT,                                    -- workers.id, only while running
    epoch           INTEGER NOT NULL DEFAULT 0,              -- of the newest claim; every write of a holder names it
    attempts        INTEGER NOT NULL DEFAULT 0,              -- claims so far
    crashes         INTEGER NOT NULL DEFAULT 0,              -- claims that ended with the holder's death
    wake_at         REAL,                                    -- unix seconds, for sleeping and waiting runs
    cancel_reason   TEXT,                                    -- set: a cancel was asked for
    sandbox_level   TEXT,
    work_s          REAL NOT NULL DEFAULT 0,
    tokens_used     INTEGER NOT NULL DEFAULT 0,
    cost_usd        REAL,
    restored        TEXT NOT NULL DEFAULT '[]',              -- steps the newest attempt took from the journal
    created_at      REAL NOT NULL,
    started_at      REAL,
    finished_at     REAL
) STRICT;
CREATE UNIQUE INDEX runs_idempotency ON runs (workflow, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_claimable ON runs (created_at) WHERE status = 'pending';
CREATE INDEX runs_held ON runs (owner) WHERE status = 'running';
CREATE INDEX runs_wake ON runs (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX runs_listed ON runs (created_at DESC, id DESC);
CREATE INDEX runs_by_workflow ON runs (workflow, created_at DESC, id DESC);
CREATE INDEX runs_by_status ON runs (status, created_at DESC, id DESC);
CREATE INDEX runs_children ON runs (parent_id) WHERE parent_id IS NOT NULL;

-- The journal: one row per call or finished step attempt, in the order in which the host learned of it.
CREATE TABLE journal (
    run_id      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    key         TEXT NOT NULL,
    kind        TEXT NOT NULL,
    name        TEXT NOT NULL,
    digest      TEXT NOT NULL,                               -- of the arguments; with kind and name the label
    step        TEXT NOT NULL DEFAULT '',                    -- the step whose attempt made the call
    attempt     INTEGER NOT NULL DEFAULT 0,
    status      TEXT NOT NULL CHECK (status IN ('open', 'ok', 'error', 'retry', 'in_doubt')),
    args        BLOB,                                        -- codec JSON
    value       BLOB,                                        -- codec JSON; NULL with value_blob set: a large one
    value_blob  TEXT REFERENCES blobs (hash),
    error       TEXT,
    delivery    INTEGER,                                     -- position in the order of deliveries to the body
    opened_at   REAL,
    finished_at REAL,
    tokens      INTEGER,
    cost_usd    REAL,
    PRIMARY KEY (run_id, seq),
    UNIQUE (run_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE blobs (
    hash        TEXT PRIMARY KEY,
    data        BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What runs wait for. A decision is written by any process and taken into the journal by the run's holder.
CREATE TABLE waits (
    run_id      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key         TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('approval', 'input', 'event', 'timer', 'in_doubt', 'child')),
    name        TEXT NOT NULL DEFAULT '',
    request     TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(request)),  -- prompt, input_type, options, context, ...
    digest      TEXT NOT NULL DEFAULT '',
    until       REAL,
    status      TEXT NOT NULL CHECK (status IN ('open', 'decided', 'taken', 'void')),
    decision    TEXT CHECK (decision IS NULL OR json_valid(decision)),  -- {decision, value, reason, reviewer, via}
    opened_at   REAL NOT NULL,
    decided_at  REAL,
    PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX waits_events ON waits (name) WHERE kind = 'event' AND status = 'open';

-- Named values sent to a run before or while it waits for them.
CREATE TABLE signals (
    run_id      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    id          TEXT NOT NULL,
    name        TEXT NOT NULL,
    payload     BLOB NOT NULL,
    sent_at     REAL NOT NULL,
    taken_by    TEXT,                                        -- the key of the wait that got it
    PRIMARY KEY (run_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    run_id      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    n           INTEGER NOT NULL,
    at          REAL NOT NULL,
    type        TEXT NOT NULL,
    data        TEXT NOT NULL,
    PRIMARY KEY (run_id, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    run_id      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    n           INTEGER NOT NULL,
    at          REAL NOT NULL,
    level       TEXT NOT NULL,
    text        TEXT NOT NULL,
    PRIMARY KEY (run_id, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,
    run_id      TEXT NOT NULL,
    key         TEXT NOT NULL,                               -- of the call that saved it: saving twice is once
    media_type  TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    metadata    TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
    blob        TEXT NOT NULL REFERENCES blobs (hash),
    size        INTEGER NOT NULL,
    created_at  REAL NOT NULL,
    deleted_at  REAL,
    UNIQUE (run_id, key)
) STRICT;
CREATE INDEX artifacts_by_name ON artifacts (name, id DESC);

-- Named events sent to whoever waits for them; the id makes a repeated delivery harmless.
CREATE TABLE emitted (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    payload     BLOB NOT NULL,
    receivers   TEXT NOT NULL DEFAULT '[]',
    at          REAL NOT NULL
) STRICT, WITHOUT ROWID;
