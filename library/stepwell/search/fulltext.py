"""Full text as searches read it: what was read of a word is kept, and follows the texts that are added."""

import math
import sqlite3
from array import array
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from stepwell.store import search_text as store
from stepwell.store.search_terms import Terms

READ = 2000  # documents of one word: BM25 weighs about a thousand in a millisecond
MIN_RARITY = 1e-6  # FTS5's own floor for words that most documents hold

_BEST = 1000  # kept of a word that more hold
_MAX_WORDS = 20_000
_MAX_KEPT = 400_000  # documents of all words, 12 bytes each
_DRIFT = 50  # of so many texts one may be added before weights are read anew: rarity changes with their number
_MAX_CHANGES = 200  # taken in one after the other
_K1, _B = 1.2, 0.75  # of FTS5's bm25()


@dataclass(frozen=True, slots=True)
class Posting:
    """The documents that hold one word."""

    ids: "array[int]"
    """Ascending. Only the best ones, if more than `READ` hold the word."""
    weights: "array[float]"
    """What the word adds to the BM25 weight of each."""


class FullText:
    """The full text of one store. Good for one thread, on one snapshot between two calls of `refresh`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._seen = -1
        """The number of the last change that is in what is kept."""
        self._newest = 0
        self._added = 0
        self._total = self._length = 0
        self._terms: Terms | None = None
        self._term_of: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._all: dict[str, int] = {}
        self._postings: dict[str, Posting] = {}
        """By term, as the counts."""
        self._kept = 0

    def close(self) -> None:
        """Give back its memory; the connection is the caller's."""
        if self._terms is not None:
            self._terms.close()
            self._terms = None

    def refresh(self) -> None:
        """Take in what has changed: new texts are added to what is kept; after other changes all is read anew."""
        if self._seen < 0:
            return
        changes = store.list_changes(self.connection, self._seen, _MAX_CHANGES + 1)
        if not changes:
            return
        if len(changes) > _MAX_CHANGES or (self._added + len(changes)) * _DRIFT > self._total:
            self._forget()
            return
        self._seen = -1  # what is taken in only in part is read anew
        self._total, self._length = store.count_texts(self.connection)
        for _, id_ in changes:
            text = store.find_text(self.connection, id_) if id_ > self._newest else None
            if text is None:
                self._forget()
                return
            self._add(id_, text)
            self._newest = id_
            self._added += 1
        self._seen = changes[-1][0]

    def total(self) -> int:
        """Return how many documents there are."""
        if self._seen < 0:
            self._forget()
        return self._total

    def count(self, words: Sequence[str]) -> dict[str, int]:
        """Return for each word how many documents hold it, but no more than `READ` + 1."""
        self._look_up(words)
        found: dict[str, int] = {}
        for word in words:
            term = self._term_of[word]
            count = self._counts.get(term)
            if count is None:
                count = self._counts[term] = store.count_word(self.connection, word, READ + 1)
            found[word] = min(count, READ + 1)
        return found

    def count_all(self, words: Sequence[str]) -> dict[str, int]:
        """Return for each word how many documents hold it; slow for words that many do."""
        for word in words:
            if self._term_of[word] not in self._all:
                self._all[self._term_of[word]] = store.count_word(self.connection, word)
        return {word: self._all[self._term_of[word]] for word in words}

    def posting(self, word: str) -> Posting:
        """Return the documents that hold a word and its weight in each."""
        term = self._term_of[word]
        found = self._postings.pop(term, None)
        if found is None:
            rows = store.weigh_word(self.connection, word, _BEST if self._counts[term] > READ else None)
            found = Posting(array("q", (row[0] for row in rows)), array("f", (row[1] for row in rows)))
            self._kept += len(rows)
            while self._postings and self._kept > _MAX_KEPT:
                self._kept -= len(self._postings.pop(next(iter(self._postings))).ids)
        self._postings[term] = found  # at the end: what has not been asked for longest goes first
        return found

    def holders(self, word: str, ids: Collection[int]) -> set[int]:
        """Return those of the documents that hold a word."""
        term = self._term_of[word]
        known = self._postings.get(term)
        if known is None or self._counts[term] > READ:
            return store.holders(self.connection, word, ids)
        return {id_ for id_ in ids if _holds(known.ids, id_)}

    def _look_up(self, words: Sequence[str]) -> None:
        if len(self._term_of) > _MAX_WORDS:
            self._forget()
        new = [word for word in words if word not in self._term_of]
        if new:
            self._terms = self._terms or Terms()
            for word, term in zip(new, self._terms.of_words(new), strict=True):
                # No term has a space in it.
                self._term_of[word] = f" {word}" if term is None else term

    def _forget(self) -> None:
        self._seen = store.newest_change(self.connection)
        self._newest = store.newest_text(self.connection)
        self._added = self._kept = 0
        self._total, self._length = store.count_texts(self.connection)
        for kept in (self._term_of, self._counts, self._all, self._postings):
            kept.clear()

    def _add(self, id_: int, text: store.Text) -> None:
        """Take a document into what is kept, as if it were read anew."""
        self._terms = self._terms or Terms()
        worth, length = self._terms.of_text(text)
        damped = _K1 * (1 - _B + _B * length * self._total / max(self._length, 1))
        for term in [term for term in self._counts if term.startswith(" ")]:
            del self._counts[term]
            if (posting := self._postings.pop(term, None)) is not None:
                self._kept -= len(posting.ids)
        for term, often in worth.items():
            if term in self._counts:
                self._counts[term] += 1
            if term in self._all:
                self._all[term] += 1
            if (posting := self._postings.get(term)) is not None:
                known = rarity(self._total, self._all.get(term, self._counts[term]))
                posting.ids.append(id_)
                posting.weights.append(known * often * (_K1 + 1) / (often + damped))
                self._kept += 1


def rarity(total: int, holding: int) -> float:
    """Return what FTS5's bm25() multiplies a word with that so many of all documents hold."""
    return max(math.log((total - holding + 0.5) / (holding + 0.5)), MIN_RARITY)


def _holds(ids: "array[int]", id_: int) -> bool:
    place = bisect_left(ids, id_)
    return place < len(ids) and ids[place] == id_
