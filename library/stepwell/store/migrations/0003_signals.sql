-- Events are a log. A run takes each event of a name that was sent after the run was created, once and in order.
DROP TABLE signals;

ALTER TABLE emitted RENAME TO emitted_before;
CREATE TABLE emitted (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,           -- never used again, also if rows are deleted
    id          TEXT NOT NULL UNIQUE,                        -- of its sender: the same id is the same event
    name        TEXT NOT NULL,
    run_id      TEXT REFERENCES runs (id) ON DELETE CASCADE, -- a signal: for this run only
    payload     BLOB NOT NULL,                               -- JSON
    at          REAL NOT NULL,
    reached     TEXT                                         -- not given to all that wait yet: the last run looked at
) STRICT;
INSERT INTO emitted (id, name, payload, at) SELECT id, name, payload, at FROM emitted_before ORDER BY at, id;
DROP TABLE emitted_before;
CREATE INDEX emitted_to_all ON emitted (name, seq) WHERE run_id IS NULL;
CREATE INDEX emitted_to_one ON emitted (run_id, name, seq) WHERE run_id IS NOT NULL;
CREATE INDEX emitted_unfinished ON emitted (seq) WHERE reached IS NOT NULL;

-- The newest event of a name that a run was given.
CREATE TABLE event_positions (
    run_id      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

-- Events before that position which a run was given and did not take: its wait was given up first.
CREATE TABLE returned_events (
    run_id      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    PRIMARY KEY (run_id, name, seq)
) STRICT, WITHOUT ROWID;

ALTER TABLE runs ADD COLUMN events_after INTEGER NOT NULL DEFAULT 0;  -- events up to this one were sent before the run
UPDATE runs SET events_after = (SELECT coalesce(max(seq), 0) FROM emitted);
