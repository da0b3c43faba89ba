-- Steps that can be undone, and how a run will end once they are.
ALTER TABLE journal ADD COLUMN undo INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN unwinding TEXT CHECK (unwinding IS NULL OR json_valid(unwinding));  -- {status, error, reason}
