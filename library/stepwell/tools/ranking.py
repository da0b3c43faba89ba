"""Which tools fit a query, by the words of their names and descriptions."""

import re
from collections.abc import Iterable, Sequence

from stepwell.ports import ToolSpec

NAME_WEIGHT = 3.0
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_STOP = frozenset({"a", "an", "and", "by", "for", "from", "in", "it", "its", "of", "on", "or", "the", "to", "with"})


def rank(tools: Iterable[ToolSpec], query: str, limit: int) -> list[ToolSpec]:
    """Return the tools that share words with the query, best first; all of them, by name, for an empty query."""
    ordered = sorted(tools, key=lambda spec: spec.name)
    wanted = words(query)
    if not wanted:
        return ordered[: max(limit, 0)]
    scored = [(_score(spec, wanted, query), spec) for spec in ordered]
    # The sort is stable: equals stay in the order of their names.
    best = sorted((item for item in scored if item[0] > 0), key=lambda item: -item[0])
    return [spec for _, spec in best[: max(limit, 0)]]


def words(text: str) -> list[str]:
    """Return the lower-case words, identifiers split: `getHTTPPage_2` gives get, http, page, 2."""
    found = [word.lower() for word in _WORD.findall(text[:2000])]
    return [word for word in found if word not in _STOP] or found


def _score(spec: ToolSpec, wanted: Sequence[str], query: str) -> float:
    if spec.name == query.strip():
        return 1000.0
    name, said = words(spec.name), words(spec.description)
    return sum(NAME_WEIGHT * _nearness(word, name) + _nearness(word, said) for word in set(wanted))


def _nearness(word: str, among: Sequence[str]) -> float:
    if word in among:
        return 1.0
    if len(word) >= 3 and any(
        len(other) >= 3 and (other.startswith(word) or word.startswith(other)) for other in among
    ):
        return 0.5
    return 0.0
