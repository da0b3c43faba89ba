-- Attempts of a run that failed since it was started or last resumed by somebody.
ALTER TABLE runs ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
