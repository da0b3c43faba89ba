-- What came from files is looked for at every start.
CREATE INDEX workflows_by_origin ON workflows (origin) WHERE deleted_at IS NULL;
