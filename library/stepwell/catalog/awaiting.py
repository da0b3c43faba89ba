"""Calls that do nothing because nobody awaits them."""

import ast
from collections.abc import Iterator

from stepwell.catalog.agents import Agents
from stepwell.catalog.origins import Origins
from stepwell.model import Warn

AWAITED = frozenset(
    {
        "step", "parallel", "gather", "batch", "map", "fan_out", "reduce", "branch", "sleep", "sleep_until",
        "wait_for_user", "wait_for_event", "approve", "invoke", "start", "emit",
    }
)  # fmt: skip
CONTEXTS = frozenset({"ctx", "wf"})


def check_awaited(tree: ast.Module, origins: Origins, *, script: bool) -> Iterator[Warn]:
    """Yield a warning for each call of an agent or of `ctx` that stands alone in async code without `await`."""
    agents = Agents(origins)
    waiting: list[tuple[ast.AST, bool]] = [(tree, script)]
    while waiting:
        node, is_async = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            is_async = isinstance(node, ast.AsyncFunctionDef)
        waiting += [(child, is_async) for child in ast.iter_child_nodes(node)]
        if is_async and isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value
            root, _, method = origins.of(call.func).partition(".")
            if (root in CONTEXTS and method in AWAITED) or agents.asked(call) is not None:
                yield Warn(
                    code="not_awaited",
                    message="this call does nothing until it is awaited, and the run fails at its end: write `await` "
                    "before it, or hand it to ctx.step or ctx.parallel.",
                    line=call.lineno,
                )
