"""Tools that a source gives to its agents by their names: `Agent("a", tools=["fetch", "github.*", "workflows.x"])`."""

import ast
from collections.abc import Iterable

from stepwell.catalog.literal import read_text
from stepwell.catalog.origins import Origins

WORKFLOWS = "workflows."
GROUP = ".*"
POSITION = 3  # of `tools` among the parameters of `Agent`


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
        if origins.last(call.func) not in ("Agent", "agent"):
            continue
        given = [keyword.value for keyword in call.keywords if keyword.arg == "tools"] or call.args[POSITION:][:1]
        for listed in given:
            if isinstance(listed, ast.List | ast.Tuple | ast.Set):
                texts = (read_text(item) for item in listed.elts)
                yield from (text for text in texts if text and "*" not in text.removesuffix(GROUP))
