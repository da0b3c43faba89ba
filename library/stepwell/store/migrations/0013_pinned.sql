-- Versions of other workflows that a run which reuses steps of an earlier one shall invoke, as that one's family did.
CREATE TABLE pinned (
    run_id   TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    workflow TEXT NOT NULL,
    version  TEXT NOT NULL REFERENCES versions (hash),
    PRIMARY KEY (run_id, workflow)
) STRICT, WITHOUT ROWID;
CREATE INDEX pinned_by_version ON pinned (version);
