"""SQL on the full text of what can be found, in the home's file or in a store of a process's own."""

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass

# Weights in bm25(), in the order of the columns; tuned on the development splits of two sets of tools.
_WEIGHTS = "2.0, 1.5, 0.6, 1.0, 0.3, 1.0"
_TOKENS = "porter unicode61 remove_diacritics 2"


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
    connection.execute(
        "CREATE VIRTUAL TABLE search_text USING fts5 (name, description, details, parameters, source, intents,"
        f" tokenize = '{_TOKENS}')"
    )
    connection.execute("CREATE VIRTUAL TABLE search_trigrams USING fts5 (words, tokenize = 'trigram')")


def put_text(connection: sqlite3.Connection, rowid: int, text: Text) -> None:
    """Store the text of a document in place of what is there."""
    drop_text(connection, rowid)
    connection.execute(
        "INSERT INTO search_text (rowid, name, description, details, parameters, source, intents)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (rowid, *astuple(text)),
    )
    words = " ".join(dict.fromkeys(f"{text.name} {text.description}".split()))
    connection.execute("INSERT INTO search_trigrams (rowid, words) VALUES (?, ?)", (rowid, words))


def drop_text(connection: sqlite3.Connection, rowid: int) -> None:
    """Make a document impossible to find."""
    connection.execute("DELETE FROM search_text WHERE rowid = ?", (rowid,))
    connection.execute("DELETE FROM search_trigrams WHERE rowid = ?", (rowid,))


def count_texts(connection: sqlite3.Connection) -> int:
    """Return how many documents can be found."""
    # The rows of a shadow table: counting those of the virtual table would read every text.
    return int(connection.execute("SELECT count(*) FROM search_text_docsize").fetchone()[0])


def text_version(connection: sqlite3.Connection) -> bytes:
    """Return what differs after every change of any text; commits that change none leave it as it is."""
    # FTS5's list of its segments, with a counter of those that were ever written.
    return bytes(connection.execute("SELECT block FROM search_text_data WHERE id = 10").fetchone()[0])


def count_word(connection: sqlite3.Connection, word: str) -> int:
    """Return how many documents hold a word."""
    found = connection.execute("SELECT count(*) FROM search_text WHERE search_text MATCH ?", (_quoted(word),))
    return int(found.fetchone()[0])


def weigh_word(connection: sqlite3.Connection, word: str, best: int | None) -> list[tuple[int, float]]:
    """Return id and BM25 weight (higher is better) of the documents that hold a word, by id; the best if so many."""
    select = f"SELECT rowid, -bm25(search_text, {_WEIGHTS}) AS weight FROM search_text WHERE search_text MATCH ?"
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
