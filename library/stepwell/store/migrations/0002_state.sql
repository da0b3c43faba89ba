-- Values that workflows keep under names: for one run, for a session, for a user.
CREATE TABLE state (
    scope       TEXT NOT NULL CHECK (scope IN ('run', 'session', 'user')),
    owner       TEXT NOT NULL,                               -- the run's, session's or user's id
    key         TEXT NOT NULL,
    value       BLOB NOT NULL,                               -- codec JSON
    updated_at  REAL NOT NULL,
    PRIMARY KEY (scope, owner, key)
) STRICT;
