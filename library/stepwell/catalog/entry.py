"""Which part of a module is the workflow."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from stepwell.catalog.agents import COMPOSED, Agents
from stepwell.catalog.literal import read_text
from stepwell.catalog.names import near_names
from stepwell.catalog.nodes import check_nodes
from stepwell.catalog.origins import Origins
from stepwell.catalog.pipeline import FunctionNode, PipelineStep, check_steps, list_steps
from stepwell.errors import InvalidSource

EXAMPLE = '''\
"""Fetch JSON from a URL."""
import json

def run(url: str) -> dict:
    return json.loads(tools.fetch(url=url))
'''

OBJECTS = frozenset({"Workflow", "DurableWorkflow"})
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
    """Functions that are steps of a `Workflow` object, in their order."""
    nodes: ast.expr | None = None
    """What is written after `steps=` of a `Workflow` object."""
    description: str = ""
    """The one that a `Workflow` object gives itself."""
    is_agent: bool = False
    """It is an object made of agents, such as `SequentialAgent(...)`; `nodes` is that."""


def find_entry(tree: ast.Module, origins: Origins, entry: str | None = None, *, script: bool = False) -> Entry:
    """Return the entry: `run`, else the one decorated function or `Workflow(...)` object, else what `entry` names.

    Where there are none of these, an object made of agents that is no part of another one.

    With `script`, a module without an entry is one itself, and so is one that awaits at its top level or calls
    `asyncio.run(...)` there.

    Raises:
        InvalidSource: there is none, or several and `entry` names none of them.
    """
    functions = _functions(tree)
    objects = _objects(tree, origins)
    check_nodes(tree, origins)
    if entry is not None:
        return _checked(_named(entry, functions, objects, tree, origins))
    if run := functions.get("run"):
        return _function_entry(run, origins)
    if script and _starts_itself(tree):
        return Entry(name="", kind="script", line=1, function=None)
    candidates = [_function_entry(function, origins) for function in functions.values()]
    candidates = [candidate for candidate in candidates if candidate.decorated]
    candidates += [_object_entry(name, line, call, tree) for name, (line, call) in objects.items()]
    if not candidates and not script:
        candidates = [_agent_entry(name, call) for name, call in _agents(tree, origins).items()]
    if len(candidates) == 1:
        return _checked(candidates[0])
    if script and not candidates:
        return Entry(name="", kind="script", line=1, function=None)
    if candidates:
        raise _ambiguous(sorted(candidates, key=lambda candidate: candidate.line))
    raise _missing(tree, functions)


def _starts_itself(tree: ast.Module) -> bool:
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Await):
            return True
        if isinstance(node, ast.Call) and _dotted(node.func) in ("asyncio.run", "anyio.run"):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return False


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return ""


def _checked(entry: Entry) -> Entry:
    check_steps(entry.steps)
    return entry


def _functions(tree: ast.Module) -> dict[str, FunctionNode]:
    # Of two functions with one name the later one is what Python keeps.
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _objects(tree: ast.Module, origins: Origins) -> dict[str, tuple[int, ast.Call]]:
    found: dict[str, tuple[int, ast.Call]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets: list[ast.expr] = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if isinstance(node.value, ast.Call) and origins.last(node.value.func) in OBJECTS:
            found |= {target.id: (node.lineno, node.value) for target in targets if isinstance(target, ast.Name)}
    return found


def _named(
    entry: str,
    functions: dict[str, FunctionNode],
    objects: dict[str, tuple[int, ast.Call]],
    tree: ast.Module,
    origins: Origins,
) -> Entry:
    if function := functions.get(entry):
        return _function_entry(function, origins)
    if entry in objects:
        return _object_entry(entry, *objects[entry], tree)
    agents = _agents(tree, origins, parts=True)
    if entry in agents:
        return _agent_entry(entry, agents[entry])
    known = [*functions, *objects, *agents]
    near = near_names(entry, known) or known[:_LISTED]
    hint = f"entry= may be: {', '.join(near)}." if near else f"Write a top-level function:\n{EXAMPLE}"
    raise InvalidSource(f"The source has no top-level function or Workflow object {entry[:60]!a}.", hint=hint)


def _function_entry(function: FunctionNode, origins: Origins) -> Entry:
    decorated = any(
        origins.last(item.func if isinstance(item, ast.Call) else item) in {"workflow", "Workflow"}
        for item in function.decorator_list
    )
    if any(_origin(item, origins) == "compat.agnt5.workflow" for item in function.decorator_list):
        _check_first_is_context(function)
    return Entry(name=function.name, kind="function", line=function.lineno, function=function, decorated=decorated)


def _origin(item: ast.expr, origins: Origins) -> str:
    return origins.of(item.func if isinstance(item, ast.Call) else item)


def _check_first_is_context(function: FunctionNode) -> None:
    # Of that system only: elsewhere the context may stand anywhere, or be missing.
    given = [*function.args.posonlyargs, *function.args.args]
    hint = given[0].annotation if given else None
    if given and (given[0].arg in ("ctx", "wf") or (hint is not None and "WorkflowContext" in ast.unparse(hint))):
        return
    raise InvalidSource(
        f"The first parameter of the workflow `{function.name}` must be `ctx: WorkflowContext`.",
        hint=f"Write `async def {function.name}(ctx: WorkflowContext, ...)`, or use `workflow` from stepwell.",
        line=function.lineno,
    )


def _object_entry(name: str, line: int, call: ast.Call, tree: ast.Module) -> Entry:
    steps = tuple(list_steps(tree, name))
    first = steps[0].function if steps else None
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    said = read_text(given.get("description")) or ""
    nodes = given.get("steps")
    return Entry(name, "workflow_object", line, function=first, steps=steps, nodes=nodes, description=said)


def _agents(tree: ast.Module, origins: Origins, *, parts: bool = False) -> dict[str, ast.Call]:
    """Return the module's objects made of agents by name; only with `parts` those that others are made of."""
    known = Agents(origins)
    found: dict[str, ast.Call] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and known.kind(node.value) in COMPOSED:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            call = cast("ast.Call", node.value)
            found |= {target.id: call for target in targets if isinstance(target, ast.Name)}
    used = {inner.id for call in found.values() for inner in ast.walk(call) if isinstance(inner, ast.Name)}
    return {name: call for name, call in found.items() if parts or name not in used}


def _agent_entry(name: str, call: ast.Call) -> Entry:
    made = ast.copy_location(ast.Name(name, ast.Load()), call)
    return Entry(name, "workflow_object", call.lineno, function=None, nodes=made, is_agent=True)


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
