-- Documents whose full text has changed, each under a new number: whoever keeps what it read of it looks at these only.
CREATE TABLE search_changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id  INTEGER NOT NULL UNIQUE
) STRICT;
