"""Which stored workflows a new one repeats: purpose, parameters, tools."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from stepwell.model import Warn, Workflow
from stepwell.search.index import View
from stepwell.search.ranking import find_closest
from stepwell.store import workflows as store

SIMILAR_SCORE = 0.5  # of a search for the new one's name and description
LIKELY = 0.75  # of all three together
MAX_SIMILAR = 3
_PURPOSE, _PARAMETERS = 0.6, 0.2  # the rest is for tools
_QUERY = 300  # characters
_FULL = 0.7  # a search's score of the same purpose said in other words

Near: TypeAlias = tuple[Workflow, float]
"""A workflow and the score of a search for the new one's name and description."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """One stored workflow that is like the new one."""

    name: str
    score: float
    """Of purpose, parameters and tools, 0 to 1."""
    signature: str
    same_source: bool


def purpose_of(name: str, description: str) -> str:
    """Return what is searched for."""
    return f"{name} {description}"[:_QUERY]


def find_near(view: View, name: str, description: str) -> list[Near]:
    """Return the other workflows whose purpose may be the same."""
    found = find_closest(view.text, purpose_of(name, description), MAX_SIMILAR + 1, view.meaning)
    score_of = {item.id: min(item.score, 1.0) for item in found if item.score >= SIMILAR_SCORE}
    workflows = store.load_workflows(view.connection, list(score_of)) if score_of else {}
    return [(other, score_of[id_]) for id_, other in workflows.items() if other.name != name]


def compare(wanted: Workflow, near: list[Near], twins: Sequence[str]) -> list[Likeness]:
    """Return the workflows that may do the same, likeliest first; `twins` have the same source."""
    kept = [_compare(wanted, other, score) for other, score in near]
    known = {item.name for item in kept}
    signature = wanted.version.signature[len(wanted.name) :]
    others = [name for name in twins if name not in known]
    kept += [Likeness(name, 1.0, name + signature, same_source=True) for name in others[:MAX_SIMILAR]]
    return sorted(kept, key=lambda item: -item.score)[:MAX_SIMILAR]


def warn_of(alike: list[Likeness], name: str) -> list[Warn]:
    """Return a warning that names those which nearly certainly do the same."""
    near = [item for item in alike if item.same_source or item.score >= LIKELY]
    if not near:
        return []
    first = near[0]
    what = "has the same source" if first.same_source else "has nearly the same purpose, parameters and tools"
    others = f" So do {', '.join(item.name for item in near[1:])}." if near[1:] else ""
    message = (
        f"`{first.name}` {what}: {first.signature}.{others} Keep one: use it, or make this its new version with"
        f" create_workflow(name={first.name!r}, ..., replace=True), and delete_workflow({name!r})."
    )
    return [Warn(code="near_duplicate", message=message)]


def _compare(wanted: Workflow, other: Workflow, score: float) -> Likeness:
    parameters = _overlap(
        {item.name for item in wanted.version.parameters}, {item.name for item in other.version.parameters}
    )
    tools = _overlap(_tools(wanted), _tools(other))
    purpose = min(score / _FULL, 1.0)
    whole = _PURPOSE * purpose + _PARAMETERS * parameters + (1 - _PURPOSE - _PARAMETERS) * tools
    same = other.version.hash == wanted.version.hash
    return Likeness(other.name, round(whole, 3), other.version.signature, same)


def _tools(workflow: Workflow) -> set[str]:
    return {str(tool) for tool in workflow.version.manifest.get("tools", [])}


def _overlap(one: Collection[str], other: Collection[str]) -> float:
    first, second = set(one), set(other)
    return len(first & second) / len(first | second) if first | second else 1.0
