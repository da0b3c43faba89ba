"""Tools that a source gives to its agents by their names: `Agent("a", tools=["fetch", "github.*", "workflows.x"])`."""

import ast
from collections.abc import Iterable

from stepwell.catalog.literal import read_text
from stepwell.catalog.origins import Origins

WORKFLOWS = "workflows."
GROUP = ".*"
MADE_BY = ("Agent", "agent", "UniversalAgent")
POSITION = 3  # of `tools` among their parameters


def agent_tools(calls: Iterable[ast.Call], origins: Origins) -> Iterable[str]:
    """Yield tools and groups of tools; `*` names none."""
    for name in _names(calls, origins):
        if not name.startswith(WORKFLOWS):
            yield name.removesuffix(GROUP)


def agent_workflows(calls: Iterable[ast.Call], origins: Origins) -> Iterable[str]:
    """Yield workflows."""
    for name in _names(calls, origins):
        if name.startswith(WORKFLOWS):
            yield name.removeprefix(WORKFLOWS)


def _names(calls: Iterable[ast.Call], origins: Origins) -> Iterable[str]:
    for call in calls:
        if origins.last(call.func) not in MADE_BY:
            continue
        given = [keyword.value for keyword in call.keywords if keyword.arg == "tools"] or call.args[POSITION:][:1]
        for listed in given:
            if isinstance(listed, ast.List | ast.Tuple | ast.Set | ast.Constant):
                texts = (read_text(item) for item in getattr(listed, "elts", [listed]))
                yield from (text for text in texts if text and "*" not in text.removesuffix(GROUP))
