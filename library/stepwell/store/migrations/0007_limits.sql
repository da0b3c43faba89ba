-- CPU seconds of a run over all its processes.
ALTER TABLE runs ADD COLUMN cpu_s REAL NOT NULL DEFAULT 0;
-- The step that a line of output comes from.
ALTER TABLE logs ADD COLUMN step TEXT NOT NULL DEFAULT '';
