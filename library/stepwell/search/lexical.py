"""What the words of a query find: full text, and words nearly like those that nothing holds."""

import math
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from stepwell.search.fulltext import READ, FullText, rarity
from stepwell.search.words import query_terms
from stepwell.store import search_text as store

READ_FEW = 500
"""Documents that tell whether something like this is there."""

SMALL = 300  # documents; in so few, BM25's own rarity of words says little

_ASSUMED = 20  # documents beside those stored: in a small collection one unknown word must not outweigh the others
_SATURATION = 2.2  # BM25's k1 + 1: the most that one word can add, times its rarity
_MAX_UNKNOWN = 4  # words looked for by trigrams
_MIN_UNKNOWN = 4  # characters of such a word
_NEAR_DOCUMENTS = 30
_NEAR = 0.5  # the least that two words must share of their trigrams
_NEAR_WORTH = 0.5  # of a word that is only nearly there


@dataclass(frozen=True, slots=True)
class Lexical:
    """The documents that hold words of a query."""

    scores: dict[int, float]
    """By id: the share of the query's words that the document covers, rare ones counting more. 0 to 1, comparable
    between queries and collections of any size, which BM25's own sum is not."""
    known: tuple[str, ...] = ()
    """The words that some document holds."""
    near: dict[str, dict[int, float]] = field(default_factory=dict[str, dict[int, float]])
    """For the words that none holds: the documents with a word nearly like it, and how near."""


def match(text: FullText, query: str, read: int = READ) -> Lexical:
    """Return what the words of a query find. Of words that many documents hold so many documents are read in all."""
    terms = query_terms(query)
    total = text.total()
    if not terms or not total:
        return Lexical({})
    held = text.count(terms)
    known = tuple(word for word in terms if held[word])
    if known and min(held[word] for word in known) > READ:
        held = text.count_all(terms)
    small = total <= SMALL
    telling = known if small else _telling(known, held, read)
    unknown = [word for word in terms if not held[word]]
    worth = {word: _worth(total, held[word], small=small) for word in (*telling, *unknown)}
    bound = sum(worth.values())
    scores: dict[int, float] = {}
    for word in telling:
        # BM25 is a sum over words, each with its own idea of how rare it is.
        most = _SATURATION * rarity(total, held[word])
        share = worth[word] / bound / most
        found = text.posting(word)
        for id_, weight in zip(found.ids, found.weights, strict=True):
            scores[id_] = scores.get(id_, 0.0) + share * weight
    spelt = [word for word in unknown if len(word) >= _MIN_UNKNOWN][:_MAX_UNKNOWN]
    near = {word: _near(text.connection, word) for word in spelt}
    for word, documents in near.items():
        for id_, nearness in documents.items():
            scores[id_] = scores.get(id_, 0.0) + _NEAR_WORTH * nearness * worth[word] / bound
    return Lexical(scores, known, near)


def _telling(words: Iterable[str], held: dict[str, int], room: int) -> list[str]:
    """Return the rarest of the words, as many as there is room for; the others say little beside them."""
    telling: list[str] = []
    for word in sorted(words, key=held.__getitem__):
        room -= held[word]
        if room < 0 and telling:
            break
        telling.append(word)
    return telling


def matched_words(text: FullText, lexical: Lexical, ids: Iterable[int]) -> dict[int, list[str]]:
    """Return which of the query's words each of the documents holds, in the order of the query."""
    words: dict[int, list[str]] = {id_: [] for id_ in ids}
    for word in lexical.known if words else ():
        for id_ in text.holders(word, words):
            words[id_].append(word)
    for word, documents in lexical.near.items():
        for id_ in words.keys() & documents.keys():
            words[id_].append(f"~{word}")
    return words


def _worth(total: int, holding: int, *, small: bool) -> float:
    if small:
        return math.log(1 + (_ASSUMED + total - holding + 0.5) / (holding + 0.5))
    return rarity(total, holding)


def _near(connection: sqlite3.Connection, word: str) -> dict[int, float]:
    grams = _trigrams(word)
    found: dict[int, float] = {}
    inner = sorted(gram for gram in grams if " " not in gram)
    for id_, words in store.match_trigrams(connection, inner, _NEAR_DOCUMENTS):
        best = max((_overlap(grams, _trigrams(other)) for other in words), default=0.0)
        if best >= _NEAR:
            found[id_] = best
    return found


def _trigrams(word: str) -> frozenset[str]:
    padded = f" {word[:64]} "
    return frozenset(padded[start : start + 3] for start in range(len(padded) - 2))


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other))
