"""Ranking of workflows for a query. `rank` is where another ranking would take this one's place."""

import math
import sqlite3
from dataclasses import dataclass
from typing import Literal

from stepwell.catalog.words import query_terms, split_words
from stepwell.model import Workflow
from stepwell.store import workflows as store

LOW_CONFIDENCE = 0.25  # a best score below it is more often chance than meaning

_ASSUMED = 20  # workflows beside those stored: in a small catalogue one unknown word must not outweigh the others
_SATURATION = 2.2  # BM25's k1 + 1: the most that one word can add, times its idf
_MIN_IDF = 1e-6  # FTS5's own floor for words that most texts hold
_PREFIX_WORTH = 0.6  # of a word found only as the beginning of another
_MIN_PREFIX = 3  # characters


@dataclass(frozen=True, slots=True)
class Hit:
    """One workflow found."""

    workflow: Workflow
    score: float
    """0 to 1; 1 is the exact name."""
    why: str
    """`exact name`, or the words that were found."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found, best first."""

    items: tuple[Hit, ...]
    mode: Literal["lexical"] = "lexical"
    low_confidence: bool = True
    """Nothing was found, or the best is likely not what was meant."""


@dataclass(frozen=True, slots=True)
class _Term:
    word: str
    weights: dict[int, float]
    """By workflow, 0 to 1."""
    idf: float


def search(connection: sqlite3.Connection, query: str, limit: int) -> SearchResult:
    """Return the workflows that fit `query`; nothing in it is syntax."""
    ranked = rank(connection, query)[:limit]
    found = store.load_workflows(connection, [id_ for id_, _, _ in ranked])
    items = tuple(Hit(workflow=found[id_], score=round(score, 4), why=why) for id_, score, why in ranked)
    return SearchResult(items=items, low_confidence=not items or items[0].score < LOW_CONFIDENCE)


def rank(connection: sqlite3.Connection, query: str) -> list[tuple[int, float, str]]:
    """Return `(id, score, why)` of all workflows with anything in common with `query`, best first.

    A score is the share of the query's words, rare ones counting more, that the workflow covers: comparable
    between queries and catalogues of any size, which BM25's own sum is not.
    """
    total = store.count_texts(connection)
    terms = [_look_up(connection, word, total) for word in query_terms(query)]
    bound = sum(term.idf for term in terms)
    scores: dict[int, float] = {}
    words: dict[int, list[str]] = {}
    for term in terms:
        for id_, weight in term.weights.items():
            scores[id_] = scores.get(id_, 0.0) + weight * term.idf / bound
            words.setdefault(id_, []).append(term.word)
    ranked = {id_: (score, f"words: {', '.join(words[id_])}") for id_, score in scores.items()}
    named = store.find_row(connection, "_".join(split_words(query[:200])))
    exact = store.find_row(connection, query.strip()) if query.isascii() else None
    for row in (named, exact):
        if row is not None and not row.deleted:
            ranked[row.id] = (1.0, "exact name")
    return sorted(((id_, *found) for id_, found in ranked.items()), key=lambda item: (-item[1], item[0]))


def _look_up(connection: sqlite3.Connection, word: str, total: int) -> _Term:
    found = store.match_text(connection, f'"{word}"')
    worth = 1.0
    if not found and len(word) >= _MIN_PREFIX:
        worth = _PREFIX_WORTH
        found = store.match_text(connection, f'"{word}"*')
        if not found and len(word) > _MIN_PREFIX + 1:  # a word misspelt towards its end
            found = store.match_text(connection, f'"{word[: max(_MIN_PREFIX + 1, len(word) * 2 // 3)]}"*')
    count = len(found)
    own = max(math.log((total - count + 0.5) / (count + 0.5)), _MIN_IDF) if count else 1.0
    weights = {id_: worth * min(weight / own / _SATURATION, 1.0) for id_, weight in found.items()}
    return _Term(word=word, weights=weights, idf=math.log(1 + (_ASSUMED + total - count + 0.5) / (count + 0.5)))
