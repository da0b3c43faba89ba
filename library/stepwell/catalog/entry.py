"""Which part of a module is the workflow."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stepwell.catalog.names import near_names
from stepwell.catalog.origins import Origins
from stepwell.catalog.pipeline import FunctionNode, PipelineStep, check_steps, list_steps
from stepwell.errors import InvalidSource

EXAMPLE = '''\
"""Fetch JSON from a URL."""
import json

def run(url: str) -> dict:
    return json.loads(tools.fetch(url=url))
'''

_LISTED = 10  # candidates named in an error


@dataclass(frozen=True, slots=True)
class Entry:
    """The part of the module that a run executes."""

    name: str
    kind: Literal["function", "workflow_object", "script"]
    line: int
    function: FunctionNode | None
    """The function whose parameters are the workflow's: the entry itself, or the first step of an object."""
    decorated: bool = False
    """It carries `@workflow` or `@Workflow`."""
    steps: tuple[PipelineStep, ...] = ()
    """Of a `Workflow` object, in their order."""


def find_entry(tree: ast.Module, origins: Origins, entry: str | None = None, *, script: bool = False) -> Entry:
    """Return the entry: `run`, else the one decorated function or `Workflow(...)` object, else what `entry` names.

    With `script`, a module without an entry is one itself.

    Raises:
        InvalidSource: there is none, or several and `entry` names none of them.
    """
    functions = _functions(tree)
    objects = _objects(tree, origins)
    if entry is not None:
        return _checked(_named(entry, functions, objects, tree, origins))
    if run := functions.get("run"):
        return _function_entry(run, origins)
    candidates = [_function_entry(function, origins) for function in functions.values()]
    candidates = [candidate for candidate in candidates if candidate.decorated]
    candidates += [_object_entry(name, line, tree, origins) for name, line in objects.items()]
    if len(candidates) == 1:
        return _checked(candidates[0])
    if script and not candidates:
        return Entry(name="", kind="script", line=1, function=None)
    if candidates:
        raise _ambiguous(sorted(candidates, key=lambda candidate: candidate.line))
    raise _missing(tree, functions)


def _checked(entry: Entry) -> Entry:
    check_steps(entry.steps)
    return entry


def _functions(tree: ast.Module) -> dict[str, FunctionNode]:
    # Of two functions with one name the later one is what Python keeps.
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _objects(tree: ast.Module, origins: Origins) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets: list[ast.expr] = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if isinstance(node.value, ast.Call) and origins.last(node.value.func) == "Workflow":
            found |= {target.id: node.lineno for target in targets if isinstance(target, ast.Name)}
    return found


def _named(
    entry: str, functions: dict[str, FunctionNode], objects: dict[str, int], tree: ast.Module, origins: Origins
) -> Entry:
    if function := functions.get(entry):
        return _function_entry(function, origins)
    if line := objects.get(entry):
        return _object_entry(entry, line, tree, origins)
    known = [*functions, *objects]
    near = near_names(entry, known) or known[:_LISTED]
    hint = f"entry= may be: {', '.join(near)}." if near else f"Write a top-level function:\n{EXAMPLE}"
    raise InvalidSource(f"The source has no top-level function or Workflow object {entry[:60]!a}.", hint=hint)


def _function_entry(function: FunctionNode, origins: Origins) -> Entry:
    decorated = any(
        origins.last(item.func if isinstance(item, ast.Call) else item) in {"workflow", "Workflow"}
        for item in function.decorator_list
    )
    return Entry(name=function.name, kind="function", line=function.lineno, function=function, decorated=decorated)


def _object_entry(name: str, line: int, tree: ast.Module, origins: Origins) -> Entry:
    steps = tuple(list_steps(tree, name))
    first = steps[0].function if steps else None
    return Entry(name=name, kind="workflow_object", line=line, function=first, steps=steps)


def _ambiguous(candidates: list[Entry]) -> InvalidSource:
    listed = ", ".join(f"`{candidate.name}` (line {candidate.line})" for candidate in candidates[:_LISTED])
    return InvalidSource(
        f"The source has {len(candidates)} workflows and no `run`: {listed}.",
        hint=f"Name one with entry=, for example entry={candidates[0].name!r}, or call the main one `run`.",
        line=candidates[0].line,
    )


def _missing(tree: ast.Module, functions: dict[str, FunctionNode]) -> InvalidSource:
    hint = f"Write a top-level `run` function, for example:\n{EXAMPLE}"
    if inner := next(_inner_runs(tree), None):
        return InvalidSource(
            f"`run` in line {inner.lineno} is not at the top level of the module.",
            hint="Move it there, without indentation.",
            line=inner.lineno,
        )
    if functions:
        hint = (
            f"Rename the main function to `run`, or name it with entry=, for example entry={next(iter(functions))!r}."
        )
    return InvalidSource(
        "The source has no entry: no top-level `run`, no function decorated @workflow, no Workflow(...) object.",
        hint=hint,
    )


def _inner_runs(tree: ast.Module) -> Iterator[FunctionNode]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "run":
            yield node
