-- Calls of tools that the operator limits, over all processes of a home: who waits in line and who is under way.
CREATE TABLE call_turns (
    lane        TEXT NOT NULL,                               -- the limit's pattern
    place       INTEGER NOT NULL,                            -- in line
    owner       TEXT NOT NULL REFERENCES workers (id) ON DELETE CASCADE,  -- a process that is gone holds none
    number      INTEGER NOT NULL,                            -- of the call, in its process
    held        INTEGER NOT NULL DEFAULT 0,                  -- 1: under way
    PRIMARY KEY (lane, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX call_turns_by_owner ON call_turns (owner, number);

-- When the newest of them began: as many as a rate allows in its span.
CREATE TABLE call_begins (
    lane        TEXT NOT NULL,
    n           INTEGER NOT NULL,
    at          REAL NOT NULL,                               -- unix seconds
    PRIMARY KEY (lane, n)
) STRICT, WITHOUT ROWID;
