-- What models were asked, and what that has cost. One row for each request; it is there before the request leaves.
CREATE TABLE model_calls (
    id                 INTEGER PRIMARY KEY,
    run_id             TEXT NOT NULL,                        -- no reference: the day's sum outlives its runs
    key                TEXT NOT NULL,                        -- of the turn, in the run's journal
    agent              TEXT NOT NULL,
    step               TEXT NOT NULL DEFAULT '',
    session_id         TEXT,
    model              TEXT NOT NULL,
    at                 REAL NOT NULL,
    status             TEXT NOT NULL CHECK (status IN ('sent', 'done', 'lost')),
    input_tokens       INTEGER NOT NULL DEFAULT 0,
    output_tokens      INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens  INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    cost_pico          INTEGER                               -- picodollars; the most it can be unless done; NULL: unknown
) STRICT;
CREATE INDEX model_calls_by_run ON model_calls (run_id, key);
CREATE INDEX model_calls_by_time ON model_calls (at);
