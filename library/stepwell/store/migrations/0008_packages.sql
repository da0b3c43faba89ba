-- Third-party packages: which files a version runs with, found once when it was stored.
CREATE TABLE version_packages (
    version     TEXT PRIMARY KEY REFERENCES versions (hash) ON DELETE CASCADE,
    environment TEXT NOT NULL,                               -- follows from the files; the name of their folder
    lock        TEXT NOT NULL CHECK (json_valid(lock)),      -- model.packages.Lock
    created_at  REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX version_packages_environments ON version_packages (environment);
