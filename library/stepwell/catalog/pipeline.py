"""Functions that are the steps of a module's `Workflow` object: `@wf.step("research", retries=3)`."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from stepwell.catalog.literal import read_text
from stepwell.errors import InvalidSource

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class PipelineStep:
    """One decorated function."""

    name: str | None
    """None where it is no literal: then it is known when the module is loaded."""
    function: FunctionNode
    line: int
    """Of the decorator."""


def list_steps(tree: ast.Module, name: str) -> list[PipelineStep]:
    """Return the steps of the object `name`, in the order in which they run."""
    found: list[PipelineStep] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # Decorators are applied from the innermost outwards.
            found += [
                PipelineStep(_title(item, node), node, item.lineno)
                for item in reversed(node.decorator_list)
                if _is_step(item, name)
            ]
    return found


def check_steps(steps: Sequence[PipelineStep]) -> None:
    """Refuse two steps of one name.

    Raises:
        InvalidSource: there are two; with the lines of both.
    """
    lines: dict[str, int] = {}
    for step in steps:
        if step.name is None:
            continue
        if (first := lines.setdefault(step.name, step.line)) != step.line:
            raise InvalidSource(
                f"Two steps are named {step.name[:60]!r}: in line {first} and in line {step.line}.",
                hint="Give every step of a workflow its own name.",
                line=step.line,
            )


def _is_step(item: ast.expr, name: str) -> bool:
    target = item.func if isinstance(item, ast.Call) else item
    if not isinstance(target, ast.Attribute) or target.attr != "step":
        return False
    return isinstance(target.value, ast.Name) and target.value.id == name


def _title(item: ast.expr, function: FunctionNode) -> str | None:
    if not isinstance(item, ast.Call):
        return function.name
    named = [keyword.value for keyword in item.keywords if keyword.arg == "name"]
    given = [*item.args[:1], *named]
    return read_text(given[0]) if given else function.name
