-- Workflows with the same source.
CREATE INDEX workflows_by_version ON workflows (version);
