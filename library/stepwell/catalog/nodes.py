"""The nodes of a declarative workflow, read from its source: `Workflow("name", steps=[Step(...), Loop(...)])`."""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from stepwell.catalog.agents import COMPOSED, Agents
from stepwell.catalog.literal import read_text
from stepwell.catalog.origins import Origins
from stepwell.errors import InvalidSource
from stepwell.model import Warn

KINDS = frozenset({"Step", "Steps", "Parallel", "Condition", "Loop", "Router"})
WORK = frozenset({"agent", "team", "executor"})
END = "End"  # where code of a branch ends the workflow
MAX_NODES = 500  # read of one workflow
_MAX_DEPTH = 40
_PACKAGES = ("stepwell", "definable")


@dataclass(frozen=True, slots=True)
class Branch:
    """Nodes that follow each other inside of a node."""

    label: str
    """`true`, `false`, a route's name; empty where there is only one."""
    nodes: tuple["NodeSource", ...]


@dataclass(frozen=True, slots=True)
class NodeSource:
    """One node as it is written."""

    kind: str
    """`Step`, `Parallel`, ...; of imperative code also `Tool`, `Agent`, `Workflow`, `Wait`, `If`, `For`, `While`."""
    name: str
    line: int
    work: str = ""
    """Of a step what it runs: `agent researcher`, `executor process`."""
    note: str = ""
    """`max 3`, `at most 2 at once`."""
    branches: tuple[Branch, ...] = ()


class NodeReader:
    """Reads nodes; names of the module's own assignments are followed."""

    def __init__(self, tree: ast.Module, origins: Origins) -> None:
        self._origins = origins
        self._agents = Agents(origins)
        self._left = MAX_NODES
        self._assigned: dict[str, ast.expr] = {}
        for node in tree.body:
            if isinstance(node, ast.Assign):
                self._assigned |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                self._assigned[node.target.id] = node.value

    def read(self, given: ast.expr | None, depth: int = 0) -> tuple[NodeSource, ...]:
        """Return the nodes of an expression: a list, or a single one. What cannot be read is left out."""
        listed = self._follow(given)
        if given is None or depth > _MAX_DEPTH:
            return ()
        items = listed.elts if isinstance(listed, ast.List | ast.Tuple) else [given]
        found = [self._node(item, depth) for item in items]
        return tuple(node for node in found if node is not None)

    def workflow(self, name: str) -> tuple[NodeSource, ...]:
        """Return the nodes of the `Workflow(..., steps=[...])` that is assigned to a name; none if none is."""
        made = self._assigned.get(name)
        if not isinstance(made, ast.Call) or self._origins.last(made.func) != "Workflow":
            return ()
        return self.read(next((keyword.value for keyword in made.keywords if keyword.arg == "steps"), None))

    def _follow(self, given: ast.expr | None) -> ast.expr | None:
        for _ in range(5):
            if not isinstance(given, ast.Name) or given.id not in self._assigned:
                break
            given = self._assigned[given.id]
        return given

    def _node(self, item: ast.expr, depth: int) -> NodeSource | None:
        self._left -= 1
        if self._left < 0:
            return None
        written = item
        item = cast("ast.expr", self._follow(item))
        if isinstance(item, ast.List | ast.Tuple):
            return NodeSource("Steps", "steps", item.lineno, branches=(Branch("", self.read(item, depth + 1)),))
        if (agent := self.agent(written, depth)) is not None:
            return agent
        kind = self._origins.last(item.func) if isinstance(item, ast.Call) else ""
        if not isinstance(item, ast.Call) or kind not in KINDS:
            return NodeSource("Step", shown(written), written.lineno, work=f"executor {shown(written)}")
        return self._read_call(item, kind, depth)

    def _read_call(self, call: ast.Call, kind: str, depth: int) -> NodeSource:
        given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
        named = given.get("name") or (call.args[0] if call.args and kind != "Parallel" else None)
        name = read_text(named) or ("..." if named is not None else kind.lower())
        if kind == "Step":
            return self._read_step(call, name if named is not None else "", given, depth)
        note = ""
        if kind == "Loop":
            note = _times(given, 3)
        elif kind == "Parallel" and "max_concurrency" in given:
            note = f"{shown(given['max_concurrency'])} at once"
        return NodeSource(kind, name, call.lineno, note=note, branches=self._branches(call, kind, given, depth))

    def _read_step(self, call: ast.Call, name: str, given: dict[str, ast.expr], depth: int) -> NodeSource:
        what = next((what for what in ("agent", "team", "executor") if what in given), "")
        if not what:
            return NodeSource("Step", name or "step", call.lineno)
        title = (self._agents.title(given[what]) if what != "executor" else None) or shown(given[what])
        inner = self.agent(given[what], depth + 1) if what != "executor" else None
        branches = (Branch("", (inner,)),) if inner is not None and inner.branches else ()
        name = name or (title if what == "executor" else "step")
        return NodeSource("Step", name, call.lineno, work=f"{what} {title}", branches=branches)

    def agent(self, written: ast.expr, depth: int = 0) -> NodeSource | None:
        """Return an agent, with those that it is made of; None if it is none."""
        title, made = self._agents.title(written), self._agents.follow(written)
        kind = self._agents.kind(made)
        if title is None or depth > _MAX_DEPTH or made is None or kind not in COMPOSED:
            return None if title is None else NodeSource("Agent", title, written.lineno)
        given = {keyword.arg: keyword.value for keyword in made.keywords if keyword.arg}
        note = ""
        listed = given.get("agents") or (made.args[1] if len(made.args) > 1 else None)
        if kind == "ConditionalAgent":
            return NodeSource(kind, title, written.lineno, branches=tuple(self._cases(made, given, depth)))
        if kind == "LoopAgent":
            listed, note = given.get("agent") or listed, _times(given, 10)
        elif kind == "Team":
            note = read_text(given.get("mode") or (made.args[2] if len(made.args) > 2 else None)) or "route"
        nodes = self.read(listed, depth + 1)
        beside = kind in ("ParallelAgent", "Team")
        branches = tuple(Branch("", (node,)) for node in nodes) if beside else (Branch("", nodes),)
        return NodeSource(kind, title, written.lineno, note=note, branches=branches)

    def _cases(self, made: ast.Call, given: dict[str, ast.expr], depth: int) -> Iterator[Branch]:
        cases = self._follow(given.get("branches") or (made.args[2] if len(made.args) > 2 else None))
        if isinstance(cases, ast.Dict):
            for key, case in zip(cases.keys, cases.values, strict=True):
                yield Branch("..." if key is None else read_text(key) or shown(key), self.read(case, depth + 1))
        if "default_branch" in given and self._agents.title(given["default_branch"]) is not None:
            yield Branch("default", self.read(given["default_branch"], depth + 1))

    def _branches(self, call: ast.Call, kind: str, given: dict[str, ast.expr], depth: int) -> tuple[Branch, ...]:
        if kind == "Condition":
            ways = (("true", given.get("true_steps")), ("false", given.get("false_steps")))
            return tuple(Branch(label, self.read(way, depth + 1)) for label, way in ways)
        if kind == "Router":
            routes = self._follow(given.get("routes"))
            if not isinstance(routes, ast.Dict):
                return ()
            pairs = zip(routes.keys, routes.values, strict=True)
            return tuple(Branch(read_text(key) or "...", self.read(way, depth + 1)) for key, way in pairs)
        listed: ast.expr | None = given.get("steps")
        if kind == "Parallel" and call.args:
            listed = ast.copy_location(ast.List(call.args), call)
        elif listed is None and len(call.args) > 1:
            listed = call.args[1]
        nodes = self.read(listed, depth + 1)
        return tuple(Branch("", (node,)) for node in nodes) if kind == "Parallel" else (Branch("", nodes),)


def _times(given: dict[str, ast.expr], usual: int) -> str:
    return f"at most {shown(given['max_iterations']) if 'max_iterations' in given else usual} times"


def check_nodes(tree: ast.Module, origins: Origins) -> None:
    """Refuse steps that have no work or several, and a workflow without steps, as their constructors would.

    Raises:
        InvalidSource: with the line.
    """
    imported = _imported(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not _is_ours(node.func, imported, origins):
            continue
        names = [keyword.arg for keyword in node.keywords]
        kind = origins.last(node.func)
        if kind == "Step" and None not in names:
            _check_step(node)
        listed = next((keyword.value for keyword in node.keywords if keyword.arg == "steps"), None)
        if isinstance(listed, ast.List) and not listed.elts:
            raise InvalidSource(
                f"The {kind} in line {node.lineno} has no steps.",
                hint='Give it at least one: steps=[Step(name="fetch", executor=fetch)].',
                line=node.lineno,
            )


def warn_of_names(nodes: ast.expr | None, tree: ast.Module, origins: Origins) -> Iterator[Warn]:
    """Yield a warning for each name that several nodes have: results are found by it, and the latest one wins."""
    found = list(flatten(NodeReader(tree, origins).read(nodes)))
    counted = Counter(node.name for node in found)
    for name, count in counted.items():
        lines = sorted({node.line for node in found if node.name == name})
        if count > 1 and len(lines) > 1 and any(node.kind == "Step" for node in found if node.name == name):
            yield Warn(
                code="duplicate_step_name",
                message=f"{count} steps are named {name!r} (lines {', '.join(map(str, lines[:5]))}): "
                "get_step_output gives the latest one.",
                line=lines[-1],
            )


def flatten(nodes: tuple[NodeSource, ...]) -> Iterator[NodeSource]:
    """Yield nodes and those inside of them."""
    for node in nodes:
        yield node
        for branch in node.branches:
            yield from flatten(branch.nodes)


def _is_ours(func: ast.expr, imported: set[str], origins: Origins) -> bool:
    name = origins.last(func)
    if name not in KINDS and name != "Workflow":
        return False
    root = func
    while isinstance(root, ast.Attribute):
        root = root.value
    return isinstance(root, ast.Name) and root.id in imported


def _imported(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGES):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias for alias in node.names if alias.name.startswith(_PACKAGES)]
            found |= {alias.asname or alias.name.partition(".")[0] for alias in names}
    return found


def _check_step(call: ast.Call) -> None:
    given = [
        keyword.arg
        for keyword in call.keywords
        if keyword.arg in WORK and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None)
    ]
    if len(given) != 1:
        has = f"has {' and '.join(str(name) for name in given)}" if given else "has no work"
        raise InvalidSource(
            f"The Step in line {call.lineno} {has}.",
            hint="Give exactly one of agent=, team=, executor=.",
            line=call.lineno,
        )


def shown(node: ast.expr) -> str:
    """Return an expression as short text."""
    if isinstance(node, ast.Name):
        return node.id
    text = "lambda" if isinstance(node, ast.Lambda) else ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "..."
