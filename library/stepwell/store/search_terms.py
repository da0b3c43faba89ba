"""Texts as the full text reads them: words without their endings, in a store of its own in memory."""

import sqlite3
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from stepwell.store.search_text import COLUMNS, TOKENS, WEIGHTS, Text

_WORTH = dict(zip(COLUMNS.split(", "), WEIGHTS, strict=True))


class Terms:
    """Takes texts apart. Good for one thread at a time."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.execute(
            f"CREATE VIRTUAL TABLE texts USING fts5 ({COLUMNS}, content = '', tokenize = '{TOKENS}')"
        )
        self._connection.execute("CREATE VIRTUAL TABLE places USING fts5vocab (texts, instance)")
        self._connection.execute("CREATE VIRTUAL TABLE counts USING fts5vocab (texts, col)")

    def close(self) -> None:
        """Give back its memory."""
        self._connection.close()

    def of_words(self, words: Sequence[str]) -> list[str | None]:
        """Return the term of each word; None where it is not one term."""
        empty = [""] * (len(WEIGHTS) - 1)
        found: list[list[str]] = [[] for _ in words]
        for place, term in self._read([(word, *empty) for word in words], "SELECT doc, term FROM places"):
            found[place].append(term)
        return [terms[0] if len(terms) == 1 else None for terms in found]

    def of_text(self, text: Text) -> tuple[dict[str, float], int]:
        """Return how often each term is there, counting as bm25() does, and the number of all words."""
        worth: dict[str, float] = {}
        length = 0
        for term, column, count in self._read([astuple(text)], "SELECT term, col, cnt FROM counts"):
            worth[term] = worth.get(term, 0.0) + count * _WORTH[column]
            length += count
        return worth, length

    def _read(self, texts: Sequence[tuple[str, ...]], select: str) -> list[tuple[Any, ...]]:
        run = self._connection.execute
        run("BEGIN")
        try:
            run("INSERT INTO texts (texts) VALUES ('delete-all')")
            marks = ", ".join("?" * len(WEIGHTS))
            self._connection.executemany(
                f"INSERT INTO texts (rowid, {COLUMNS}) VALUES (?, {marks})",
                [(place, *text) for place, text in enumerate(texts)],
            )
            return run(select).fetchall()
        finally:
            run("COMMIT")
