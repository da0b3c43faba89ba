-- Full text with the columns that the ranking weighs, and trigrams for words that nobody holds.
CREATE VIRTUAL TABLE search_text USING fts5 (
    name, description, details, parameters, source, intents, tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE search_trigrams USING fts5 (words, tokenize = 'trigram');
INSERT INTO search_text (rowid, name, description, details, parameters, source, intents)
    SELECT rowid, name, description, '', parameters, body, intents FROM workflows_text;
INSERT INTO search_trigrams (rowid, words) SELECT rowid, name || ' ' || description FROM workflows_text;
DROP TABLE workflows_text;
-- An exact name is found in any case, with or without its underscores.
CREATE INDEX workflows_squeezed ON workflows (lower(replace(name, '_', '')));

-- Models whose vectors are here: the one that searches use, and one that is to follow it when it has all vectors.
CREATE TABLE search_models (
    key         TEXT PRIMARY KEY,                            -- follows from its files and from the recipe of texts
    name        TEXT NOT NULL,
    dimensions  INTEGER NOT NULL,
    state       TEXT NOT NULL UNIQUE CHECK (state IN ('serving', 'filling')),
    started_at  REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- A new number with every change, so that other processes read only what they have not seen.
CREATE TABLE search_vectors (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    model       TEXT NOT NULL,                               -- search_models.key
    workflow_id INTEGER NOT NULL,
    digest      BLOB NOT NULL,                               -- of the texts that the vector is of
    vector      BLOB,                                        -- float16; NULL: the workflow is gone
    UNIQUE (model, workflow_id)
) STRICT;
CREATE INDEX search_vectors_new ON search_vectors (model, seq);

-- Workflows whose vector may be out of date, and with `words` their full text, too.
CREATE TABLE search_pending (
    workflow_id INTEGER PRIMARY KEY,
    words       INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO search_pending (workflow_id, words) SELECT id, 1 FROM workflows WHERE deleted_at IS NULL;

-- Vectors of other texts, such as tools that each process has of its own, under a digest of the text.
CREATE TABLE search_cache (
    model       TEXT NOT NULL,
    digest      BLOB NOT NULL,
    vector      BLOB NOT NULL,
    UNIQUE (model, digest)
) STRICT;

-- How runs of a workflow ended; stays when the runs are deleted.
CREATE TABLE workflow_usage (
    workflow    TEXT PRIMARY KEY,
    completed   INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    recent      TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(recent)),  -- [[1 or 0, seconds], ...], newest last
    last_run_at REAL NOT NULL,
    last_error  TEXT,
    last_error_at REAL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER runs_used AFTER UPDATE OF finished_at ON runs
WHEN NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL
    AND NEW.status IN ('completed', 'terminated', 'failed', 'dead')
BEGIN
    INSERT INTO workflow_usage (workflow, completed, failed, recent, last_run_at, last_error, last_error_at)
        SELECT NEW.workflow, NEW.status IN ('completed', 'terminated'), NEW.status IN ('failed', 'dead'),
            json_array(json_array(NEW.status IN ('completed', 'terminated'),
                round(NEW.finished_at - coalesce(NEW.started_at, NEW.created_at), 3))),
            NEW.finished_at,
            CASE WHEN NEW.error IS NULL THEN NULL ELSE substr(json_extract(NEW.error, '$.message'), 1, 500) END,
            CASE WHEN NEW.error IS NULL THEN NULL ELSE NEW.finished_at END
        WHERE EXISTS (SELECT 1 FROM workflows WHERE name = NEW.workflow AND deleted_at IS NULL)
        ON CONFLICT (workflow) DO UPDATE SET
            completed = completed + excluded.completed,
            failed = failed + excluded.failed,
            recent = json_insert(
                CASE WHEN json_array_length(recent) < 50 THEN recent ELSE json_remove(recent, '$[0]') END,
                '$[#]', json_extract(excluded.recent, '$[0]')),
            last_run_at = excluded.last_run_at,
            last_error = coalesce(excluded.last_error, last_error),
            last_error_at = coalesce(excluded.last_error_at, last_error_at);
END;

-- Requests whose search led to a run that completed; a lead is kept while the run goes on.
CREATE TABLE search_leads (
    run_id      TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    request     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE learned_requests (
    workflow    TEXT NOT NULL,
    request     TEXT NOT NULL,
    times       INTEGER NOT NULL DEFAULT 1,
    at          REAL NOT NULL,                               -- of the newest run that completed
    PRIMARY KEY (workflow, request)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER runs_taught AFTER UPDATE OF finished_at ON runs
WHEN NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL
    AND EXISTS (SELECT 1 FROM search_leads WHERE run_id = NEW.id)
BEGIN
    INSERT INTO learned_requests (workflow, request, at)
        SELECT NEW.workflow, request, NEW.finished_at FROM search_leads
        WHERE run_id = NEW.id AND NEW.status = 'completed'
            AND EXISTS (SELECT 1 FROM workflows WHERE name = NEW.workflow AND deleted_at IS NULL)
        ON CONFLICT (workflow, request) DO UPDATE SET times = times + 1, at = excluded.at;
    DELETE FROM learned_requests WHERE workflow = NEW.workflow AND request NOT IN
        (SELECT request FROM learned_requests WHERE workflow = NEW.workflow ORDER BY at DESC LIMIT 10);
    INSERT INTO search_pending (workflow_id, words) SELECT id, 1 FROM workflows
        WHERE name = NEW.workflow AND NEW.status = 'completed'
        ON CONFLICT (workflow_id) DO UPDATE SET words = 1;
    DELETE FROM search_leads WHERE run_id = NEW.id;
END;
