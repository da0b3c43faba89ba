"""Options that stand on the entry itself: `@Workflow(durable=False)`, `wf = Workflow("name", timeout=60)`."""

import ast
from collections.abc import Iterator
from typing import cast

from stepwell.catalog.entry import Entry
from stepwell.catalog.limits import BUDGET_OPTIONS, LIMIT_OPTIONS, check_budget, check_limits
from stepwell.catalog.literal import NotLiteral, read_literal
from stepwell.catalog.nodes import shown
from stepwell.catalog.origins import Origins
from stepwell.catalog.pipeline import FunctionNode
from stepwell.errors import InvalidSource
from stepwell.model import Json, JsonObject


def with_declared(options: JsonObject, entry: Entry, tree: ast.Module, origins: Origins) -> JsonObject:
    """Return the module's options with those of its entry, which win.

    Raises:
        InvalidSource: `durable` is neither True nor False, or `limits`, `timeout` or `budget_usd` is no such value.
    """
    found = dict(options)
    line = entry.line
    if entry.kind == "script":
        return found | _script_budget(tree, origins)
    for call in _declarations(entry, tree, origins):
        for keyword in call.keywords:
            if keyword.arg == "durable":
                line = keyword.value.lineno
                found["durable"] = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            elif keyword.arg in LIMIT_OPTIONS:
                found[keyword.arg] = _read(keyword)
                check_limits(found, keyword.value.lineno)
            elif keyword.arg in BUDGET_OPTIONS:
                found["budget_usd"] = _read(keyword)
                check_budget(found["budget_usd"], keyword.value.lineno)
    if not isinstance(found.get("durable", True), bool):
        raise InvalidSource(
            "`durable` is neither True nor False.",
            hint="Write durable=False for a workflow that begins anew after a crash; otherwise leave it out.",
            line=line,
        )
    return found


def _script_budget(tree: ast.Module, origins: Origins) -> JsonObject:
    # Code that calls decorated functions is one run: the least of what they may spend bounds it.
    budgets: list[float] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for keyword in (keyword for call in _decorators(node, origins) for keyword in call.keywords):
                if keyword.arg in BUDGET_OPTIONS:
                    check_budget(_read(keyword), keyword.value.lineno)
                    budgets.append(cast("float", _read(keyword)))
    bounds = [budget for budget in budgets if budget]
    return {"budget_usd": min(bounds)} if bounds else {}


def _read(keyword: ast.keyword) -> Json:
    try:
        return read_literal(keyword.value)
    except NotLiteral as error:
        raise InvalidSource(
            f"`{keyword.arg}={shown(keyword.value)}` of the workflow is no literal that JSON has, and nothing is "
            "executed to read it.",
            hint="Write finite numbers: timeout=120, budget_usd=0.5, limits=dict(memory_bytes='256 MiB').",
            line=keyword.value.lineno,
        ) from error


def _declarations(entry: Entry, tree: ast.Module, origins: Origins) -> Iterator[ast.Call]:
    if entry.kind == "workflow_object":
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.lineno == entry.line:
                yield from (call for call in [node.value] if isinstance(call, ast.Call))
    elif entry.function is not None:
        yield from _decorators(entry.function, origins)


def _decorators(function: FunctionNode, origins: Origins) -> Iterator[ast.Call]:
    for item in function.decorator_list:
        if isinstance(item, ast.Call) and origins.last(item.func) in {"workflow", "Workflow"}:
            yield item
