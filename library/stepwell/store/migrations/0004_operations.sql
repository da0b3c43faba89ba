-- Attempts of a run that failed since it was started or last resumed by somebody.
ALTER TABLE runs ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

CREATE INDEX runs_by_session ON runs (session_id, created_at DESC, id DESC) WHERE session_id IS NOT NULL;
CREATE INDEX journal_steps ON journal (run_id, seq, status, key) WHERE kind = 'step';
