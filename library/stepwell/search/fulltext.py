"""Full text as searches read it: what was read of a word is kept until a text changes."""

import sqlite3
from array import array
from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass

from stepwell.store import search_text as store

READ = 3000  # documents of one word: BM25 weighs about a thousand in a millisecond
_BEST = 1000  # kept of a word that more hold
_MAX_COUNTED = 20_000  # words
_MAX_KEPT = 400_000  # documents of all words, 12 bytes each


@dataclass(frozen=True, slots=True)
class Posting:
    """The documents that hold one word."""

    ids: "array[int]"
    """Ascending. Only the best ones, if more than `READ` hold the word."""
    weights: "array[float]"
    """What the word adds to the BM25 weight of each."""


class FullText:
    """The full text of one store. Good for one thread, on one snapshot between two calls of `forget`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._total = -1
        self._counts: dict[str, int] = {}
        self._postings: dict[str, Posting] = {}
        self._kept = 0

    def forget(self) -> None:
        """Forget what was read: a text has changed."""
        self._total = -1
        self._counts.clear()
        self._postings.clear()
        self._kept = 0

    def total(self) -> int:
        """Return how many documents there are."""
        if self._total < 0:
            self._total = store.count_texts(self.connection)
        return self._total

    def count(self, word: str) -> int:
        """Return how many documents hold a word."""
        found = self._counts.get(word)
        if found is None:
            if len(self._counts) >= _MAX_COUNTED:
                self._counts.clear()
            found = self._counts[word] = store.count_word(self.connection, word)
        return found

    def posting(self, word: str) -> Posting:
        """Return the documents that hold a word and its weight in each."""
        found = self._postings.pop(word, None)
        if found is None:
            rows = store.weigh_word(self.connection, word, _BEST if self.count(word) > READ else None)
            found = Posting(array("q", (row[0] for row in rows)), array("f", (row[1] for row in rows)))
            self._kept += len(rows)
            while self._postings and self._kept > _MAX_KEPT:
                self._kept -= len(self._postings.pop(next(iter(self._postings))).ids)
        self._postings[word] = found  # at the end: what has not been asked for longest goes first
        return found

    def holders(self, word: str, ids: Collection[int]) -> set[int]:
        """Return those of the documents that hold a word."""
        known = self._postings.get(word)
        if known is None or len(known.ids) < self.count(word):
            return store.holders(self.connection, word, ids)
        return {id_ for id_ in ids if _holds(known.ids, id_)}


def _holds(ids: "array[int]", id_: int) -> bool:
    place = bisect_left(ids, id_)
    return place < len(ids) and ids[place] == id_
