-- A list by workflow and status must not go through all runs that have one of them.
CREATE INDEX runs_by_workflow_status ON runs (workflow, status, created_at DESC, id DESC);
