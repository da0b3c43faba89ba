-- What people have allowed for more than one call: a tool with its arguments, or a host.
CREATE TABLE grants (
    id          INTEGER PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN ('tool', 'host')),
    name        TEXT NOT NULL,
    detail      TEXT NOT NULL,                               -- of a tool: the digest of its definition and arguments
    arguments   TEXT NOT NULL CHECK (json_valid(arguments)), -- of the call that was shown
    scope       TEXT NOT NULL CHECK (scope IN ('run', 'workflow', 'always')),
    run_id      TEXT NOT NULL,                               -- of the run that asked
    workflow    TEXT NOT NULL,
    version     TEXT NOT NULL,                               -- scope 'workflow' is this version of it
    reviewer    TEXT NOT NULL,
    via         TEXT NOT NULL,
    given_at    REAL NOT NULL,
    revoked_at  REAL
) STRICT;
CREATE INDEX grants_by_subject ON grants (kind, name, detail) WHERE revoked_at IS NULL;
