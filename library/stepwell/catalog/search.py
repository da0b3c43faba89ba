"""Workflows by intent."""

from dataclasses import dataclass

from stepwell.model import Workflow
from stepwell.search.index import View
from stepwell.search.ranking import Mode, rank
from stepwell.search.words import squeezed
from stepwell.store import usage
from stepwell.store import workflows as store

_LONGEST_NAME = 200  # characters of a query that may be a name


@dataclass(frozen=True, slots=True)
class Hit:
    """One workflow found."""

    workflow: Workflow
    score: float
    """0 to 1; 1 is the exact name."""
    why: str
    """`exact name`, or how near its meaning is and which words were found."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found, best first."""

    items: tuple[Hit, ...]
    mode: Mode = "lexical"
    low_confidence: bool = True
    """Nothing was found, or the best is likely not what was meant."""
    model: str | None = None
    """What has compared meanings; None where only words were."""
    pending: int = 0
    """Workflows whose meaning is not known yet; they are found by their words."""


def search(view: View, query: str, limit: int) -> SearchResult:
    """Return the workflows that fit `query`; nothing in it is syntax."""
    connection = view.connection
    named = store.find_named(connection, squeezed(query)) if len(query) <= _LONGEST_NAME else []
    ranking = rank(
        view.text,
        query,
        limit,
        meaning=view.meaning,
        named=named,
        merit=lambda ids: usage.merits(connection, ids),
    )
    found = store.load_workflows(connection, [item.id for item in ranking.items])
    items = tuple(Hit(found[item.id], item.score, item.why) for item in ranking.items if item.id in found)
    low = ranking.low_confidence or not items
    return SearchResult(items, ranking.mode, low, ranking.model, view.pending)
