"""SQL on the full text of what can be found, in the home's file or in a store of a process's own."""

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass

WEIGHTS = (2.0, 1.5, 0.6, 1.0, 0.3, 1.0)
"""In bm25(), in the order of the columns; tuned on the development splits of two sets of tools."""

TOKENS = "porter unicode61 remove_diacritics 2"
COLUMNS = "name, description, details, parameters, source, intents"
_AVERAGES = 1  # FTS5's row of how many texts and words there are


@dataclass(frozen=True, slots=True)
class Text:
    """The columns of one document; words of identifiers are split."""

    name: str
    description: str
    details: str
    parameters: str
    source: str
    intents: str


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables that a home gets by its migrations, for a store in memory."""
    connection.execute(f"CREATE VIRTUAL TABLE search_text USING fts5 ({COLUMNS}, tokenize = '{TOKENS}')")
    connection.execute("CREATE VIRTUAL TABLE search_trigrams USING fts5 (words, tokenize = 'trigram')")
    connection.execute(
        "CREATE TABLE search_changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL UNIQUE) STRICT"
    )


def put_text(connection: sqlite3.Connection, rowid: int, text: Text) -> None:
    """Store the text of a document in place of what is there."""
    drop_text(connection, rowid)
    connection.execute(
        f"INSERT INTO search_text (rowid, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", (rowid, *astuple(text))
    )
    words = " ".join(dict.fromkeys(f"{text.name} {text.description}".split()))
    connection.execute("INSERT INTO search_trigrams (rowid, words) VALUES (?, ?)", (rowid, words))


def drop_text(connection: sqlite3.Connection, rowid: int) -> None:
    """Make a document impossible to find."""
    connection.execute("DELETE FROM search_text WHERE rowid = ?", (rowid,))
    connection.execute("DELETE FROM search_trigrams WHERE rowid = ?", (rowid,))
    connection.execute("INSERT OR REPLACE INTO search_changes (id) VALUES (?)", (rowid,))


def list_changes(connection: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, int]]:
    """Return number and id of the documents that have changed since a number, in order."""
    rows = connection.execute("SELECT seq, id FROM search_changes WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
    return [(row[0], row[1]) for row in rows]


def newest_change(connection: sqlite3.Connection) -> int:
    """Return the number of the last change; 0 if there was none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM search_changes").fetchone()[0])


def newest_text(connection: sqlite3.Connection) -> int:
    """Return the highest id of a document; 0 if there is none."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM search_text_content").fetchone()[0])


def find_text(connection: sqlite3.Connection, rowid: int) -> Text | None:
    """Return the columns of a document."""
    row = connection.execute(f"SELECT {COLUMNS} FROM search_text WHERE rowid = ?", (rowid,)).fetchone()
    return None if row is None else Text(*row)


def count_texts(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return how many documents can be found, and how many words they have in all."""
    # FTS5 keeps both, for bm25(); counting its rows would read all of them.
    block = connection.execute("SELECT block FROM search_text_data WHERE id = ?", (_AVERAGES,)).fetchone()[0]
    texts, *words = _numbers(block) or [0]
    return texts, sum(words)


def count_word(connection: sqlite3.Connection, word: str, most: int = -1) -> int:
    """Return how many documents hold a word; counts no further than `most` unless that is negative."""
    matches = "SELECT 1 FROM search_text WHERE search_text MATCH ? LIMIT ?"
    return int(connection.execute(f"SELECT count(*) FROM ({matches})", (_quoted(word), most)).fetchone()[0])


def weigh_word(connection: sqlite3.Connection, word: str, best: int | None) -> list[tuple[int, float]]:
    """Return id and BM25 weight (higher is better) of the documents that hold a word, by id; the best if so many."""
    weights = ", ".join(map(str, WEIGHTS))
    select = f"SELECT rowid, -bm25(search_text, {weights}) AS weight FROM search_text WHERE search_text MATCH ?"
    if best is None:
        return [(row[0], row[1]) for row in connection.execute(select, (_quoted(word),))]
    rows = connection.execute(f"{select} ORDER BY weight DESC LIMIT ?", (_quoted(word), best))
    return sorted((row[0], row[1]) for row in rows)


def holders(connection: sqlite3.Connection, word: str, ids: Iterable[int]) -> set[int]:
    """Return those of the documents that hold the word."""
    wanted = tuple(ids)
    marks = ", ".join("?" * len(wanted))
    sql = f"SELECT rowid FROM search_text WHERE search_text MATCH ? AND rowid IN ({marks})"
    return {int(row[0]) for row in connection.execute(sql, (_quoted(word), *wanted))}


def match_trigrams(connection: sqlite3.Connection, trigrams: Iterable[str], limit: int) -> list[tuple[int, list[str]]]:
    """Return id and words of the documents that have most in common with the trigrams."""
    rows = connection.execute(
        "SELECT rowid, words FROM search_trigrams WHERE search_trigrams MATCH ? ORDER BY rank LIMIT ?",
        (" OR ".join(map(_quoted, trigrams)), limit),
    )
    return [(int(row[0]), str(row[1]).split()) for row in rows]


def _quoted(word: str) -> str:
    # Nothing in a quoted string is syntax of FTS5.
    return '"' + word.replace('"', '""') + '"'


def _numbers(block: bytes) -> list[int]:
    """Read numbers in SQLite's form: seven bits a byte, the first ones first, a set bit says that more follows."""
    numbers: list[int] = []
    number = 0
    for byte in block:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(number)
            number = 0
    return numbers
