"""One order of what the words of a query find and what its meaning finds."""

import heapq
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

from stepwell.search.fulltext import READ, FullText
from stepwell.search.lexical import READ_FEW, Lexical, match, matched_words
from stepwell.search.words import has_words

LOW_CONFIDENCE = 0.25
"""A best score below it is more often chance than meaning."""

MEANING_SHARE = 0.6
"""Of the score; words have the rest. Flat between 0.5 and 0.8 on the sets that it was tuned on."""

_SPARE = 10  # candidates beyond the limit, for the order among equals
_SAME = 0.02  # scores nearer to each other say nothing about which one fits better
_SHOWN_WORDS = 5
_WORDS = ThreadPoolExecutor(2, thread_name_prefix="stepwell-words")  # no thread before there is a search

Mode = Literal["hybrid", "lexical"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that may be what was meant."""

    id: int
    score: float
    cosine: float | None = None
    """Of its vector with the query's; None without vectors."""


Best = Callable[[Mapping[int, float], int], list[Candidate]]
"""Takes the scores of a query's words and a limit; the documents with the best score of both kinds, best first.

A document without a vector keeps the score of its words."""


class Meaning(Protocol):
    """The vectors of a collection, ready to be searched."""

    @property
    def model(self) -> str:
        """The name of the model."""
        ...

    def ask(self, query: str) -> Callable[[], Best]:
        """Read a query; what is returned compares its meaning, and leaves the interpreter to others meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """One document of a result."""

    id: int
    score: float
    """0 to 1; 1 is the exact name."""
    why: str
    """`exact name`, or how near its meaning is and which words of the query it holds; `~` before one nearly held."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a search found, best first."""

    items: tuple[Found, ...]
    mode: Mode
    model: str | None
    low_confidence: bool
    """Nothing was found, or the best is likely not what was meant."""


def rank(
    text: FullText,
    query: str,
    limit: int,
    *,
    meaning: Meaning | None = None,
    named: Collection[int] = (),
    merit: Callable[[Collection[int]], Mapping[int, float]] | None = None,
) -> Ranking:
    """Rank the documents of a store's full text; nothing in `query` is syntax.

    A query without a word finds nothing. `named` are those whose name the query is; `merit` says of documents with
    the same score which to prefer.
    """
    mode, model = ("lexical", None) if meaning is None else ("hybrid", meaning.model)
    if not has_words(query):
        return Ranking((), mode, model, low_confidence=True)
    best, lexical = _find(text, query, limit + _SPARE, meaning, READ)
    best = [Candidate(id_, 1.0) for id_ in named] + [item for item in best if item.id not in named]
    if merit is not None and len(best) > 1:
        merits = merit([item.id for item in best])
        best.sort(key=lambda item: (-int(item.score / _SAME), -merits.get(item.id, 0.0), -item.score))
    best = best[:limit]
    words = matched_words(text, lexical, [item.id for item in best])
    items = tuple(
        Found(item.id, round(item.score, 4), "exact name" if item.id in named else _why(item.cosine, words[item.id]))
        for item in best
    )
    return Ranking(items, mode, model, low_confidence=not items or items[0].score < LOW_CONFIDENCE)


def find_closest(text: FullText, query: str, limit: int, meaning: Meaning | None) -> list[Candidate]:
    """Return what `rank` would put first, from the rarest words of the query and its meaning alone."""
    return _find(text, query, limit, meaning, READ_FEW)[0]


def _find(
    text: FullText, query: str, limit: int, meaning: Meaning | None, read: int
) -> tuple[list[Candidate], Lexical]:
    if meaning is None:
        lexical = match(text, query, read)
        return _by_words(lexical.scores, limit), lexical
    compare = meaning.ask(query)
    # Not before the query is read: two threads that both need the interpreter wait for one another.
    matching = _WORDS.submit(match, text, query, read)
    try:
        best = compare()
    finally:  # nobody reads the store when this is left
        lexical = match(text, query, read) if matching.cancel() else matching.result()
    return best(lexical.scores, limit), lexical


def _by_words(scores: Mapping[int, float], limit: int) -> list[Candidate]:
    best = heapq.nsmallest(limit, scores.items(), key=lambda item: (-item[1], item[0]))
    return [Candidate(id_, min(score, 1.0)) for id_, score in best]


def _why(cosine: float | None, words: list[str]) -> str:
    reasons = [] if cosine is None else [f"meaning {cosine:.2f}"]
    if words:
        reasons.append(f"words: {', '.join(words[:_SHOWN_WORDS])}")
    return "; ".join(reasons)
