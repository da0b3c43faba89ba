-- Attempts of a run that failed since it was started or last resumed by somebody.
ALTER TABLE runs ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

CREATE INDEX runs_by_session ON runs (session_id, created_at DESC, id DESC) WHERE session_id IS NOT NULL;
CREATE INDEX journal_steps ON journal (run_id, seq, status, key) WHERE kind = 'step';

-- For retention: families of runs, and who refers to a version or a blob that is to be deleted.
CREATE INDEX runs_by_root ON runs (root_id);
CREATE INDEX runs_by_version ON runs (version);
CREATE INDEX runs_ended ON runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX journal_blobs ON journal (value_blob) WHERE value_blob IS NOT NULL;
CREATE INDEX artifacts_by_blob ON artifacts (blob);
