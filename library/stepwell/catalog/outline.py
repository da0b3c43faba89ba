"""What a workflow does, as far as its source shows: its nodes, or the steps and calls of its code in their order."""

import ast
from collections.abc import Iterator

from stepwell.catalog.agents import Agents
from stepwell.catalog.entry import Entry, find_entry
from stepwell.catalog.literal import read_text
from stepwell.catalog.nodes import END, MAX_NODES, Branch, NodeReader, NodeSource, shown
from stepwell.catalog.origins import Origins
from stepwell.catalog.pipeline import FunctionNode
from stepwell.catalog.source import parse
from stepwell.model import Version

_CONTEXTS = frozenset({"ctx", "wf", "Workflow"})
_WAITS = {
    "wait_for_user": "asks a person", "approve": "waits for an approval", "wait_for_event": "waits for an event",
    "sleep": "sleeps", "sleep_until": "sleeps",
}  # fmt: skip
_BESIDE = frozenset({"parallel", "gather"})
_EACH = frozenset({"batch", "map", "fan_out"})
_HANDLES = {"tools": "Tool", "workflows": "Workflow"}
_MAX_CALLS = 6  # functions of the module that call each other


def read_outline(version: Version) -> tuple[NodeSource, ...]:
    """Return what the version's source shows of what it does."""
    tree = parse(version.source).tree
    origins = Origins(tree)
    entry = find_entry(tree, origins, version.entry or None, script=version.entry_kind == "script")
    return _Reader(tree, origins).entry(entry)


class _Reader:
    def __init__(self, tree: ast.Module, origins: Origins) -> None:
        self._tree = tree
        self._origins = origins
        self._agents = Agents(origins)
        self._nodes = NodeReader(tree, origins)
        self._left = MAX_NODES
        self._depth = 0
        """How many branches and loops are around what is read."""
        self._open: list[str] = []
        """Functions of the module that are being read."""
        self._functions: dict[str, FunctionNode] = {
            node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    def entry(self, entry: Entry) -> tuple[NodeSource, ...]:
        if entry.nodes is not None:
            return self._nodes.read(entry.nodes)
        if entry.steps:
            return tuple(
                NodeSource("Step", step.name or "...", step.line, work=step.function.name) for step in entry.steps
            )
        if entry.function is None:
            return tuple(self._block(self._tree.body))
        self._open.append(entry.function.name)
        return tuple(self._block(entry.function.body))

    def _block(self, statements: list[ast.stmt]) -> Iterator[NodeSource]:
        for statement in statements:
            yield from self._statement(statement)

    def _statement(self, node: ast.stmt) -> Iterator[NodeSource]:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return
            case ast.If() | ast.Match():
                yield from self._choice(node)
            case ast.For() | ast.AsyncFor() | ast.While():
                yield from self._loop(node)
            case ast.Try() | ast.TryStar():
                yield from self._attempt(node)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    yield from self._expression(item.context_expr)
                yield from self._block(node.body)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        yield from self._expression(child)
                if isinstance(node, ast.Return | ast.Raise) and self._depth and len(self._open) == 1:
                    yield NodeSource(END, "", node.lineno)

    def _attempt(self, node: ast.Try | ast.TryStar) -> Iterator[NodeSource]:
        yield from self._block(node.body)
        for handler in node.handlers:
            caught = shown(handler.type) if handler.type is not None else "any error"
            yield from self._around("If", f"on {caught}", handler, [("true", handler.body)])
        yield from self._block([*node.orelse, *node.finalbody])

    def _choice(self, node: ast.If | ast.Match) -> Iterator[NodeSource]:
        tested = node.test if isinstance(node, ast.If) else node.subject
        yield from self._expression(tested)
        if isinstance(node, ast.If):
            ways = [("true", node.body), ("false", node.orelse)]
        else:
            ways = [(_pattern(case.pattern), case.body) for case in node.cases]
        yield from self._around("If", shown(tested), node, ways)

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While) -> Iterator[NodeSource]:
        if isinstance(node, ast.While):
            kind, what = "While", shown(node.test)
        else:
            kind, what = "For", f"{shown(node.target)} in {shown(node.iter)}"
            yield from self._expression(node.iter)
        yield from self._around(kind, what, node, [("", node.body)])
        yield from self._block(node.orelse)

    def _around(
        self, kind: str, name: str, node: ast.stmt | ast.excepthandler, ways: list[tuple[str, list[ast.stmt]]]
    ) -> Iterator[NodeSource]:
        self._depth += 1
        branches = tuple(Branch(label, tuple(self._block(body))) for label, body in ways)
        self._depth -= 1
        if any(branch.nodes for branch in branches):
            yield NodeSource(kind, name, node.lineno, branches=branches)

    def _expression(self, node: ast.expr) -> Iterator[NodeSource]:
        if isinstance(node, ast.Lambda):
            return
        if isinstance(node, ast.Call) and self._left > 0 and (found := self._call(node)) is not None:
            self._left -= len(found)
            yield from found
            return
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
            inner = tuple(self._expression(node.elt))
            if inner:
                what = f"{shown(node.generators[0].target)} in {shown(node.generators[0].iter)}"
                yield NodeSource("For", what, node.lineno, branches=(Branch("", inner),))
            return
        for child in ast.iter_child_nodes(node):
            inner_node = child.value if isinstance(child, ast.keyword) else child
            if isinstance(inner_node, ast.expr):
                yield from self._expression(inner_node)

    def _call(self, call: ast.Call) -> list[NodeSource] | None:
        """Return what a call is; None if nothing, so that what is inside of it is looked at."""
        inner = call.func
        if isinstance(inner, ast.Call) and self._method(inner) == "step":  # ctx.step("name")(work)
            return [self._step(inner, call.args[0] if call.args else None)]
        method = self._method(call)
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        if method == "step":
            named = call.args and read_text(call.args[0]) is not None
            return [self._step(call, call.args[1] if named and len(call.args) > 1 else None)]
        if method in _BESIDE:
            branches = tuple(Branch("", nodes) for item in given if (nodes := tuple(self._expression(item))))
            return [NodeSource("Parallel", "", call.lineno, branches=branches)] if branches else None
        if method in _EACH:
            work = shown(call.args[0]) if call.args else "..."
            return [NodeSource("Step", work, call.lineno, note="once for each item")]
        if method in _WAITS:
            asked = read_text(call.args[0]) if call.args else None
            return [NodeSource("Wait", asked or method, call.lineno, note=_WAITS[method])]
        if method in ("invoke", "start"):
            return [NodeSource("Workflow", _first(call), call.lineno)]
        return self._handle(call)

    def _handle(self, call: ast.Call) -> list[NodeSource] | None:
        root, _, name = self._origins.of(call.func).partition(".")
        if root in _HANDLES and name:
            if root == "workflows" and name in ("invoke", "start"):
                return [NodeSource("Workflow", _first(call), call.lineno)]
            if name in ("list", "search", "get", "create", "delete") or name.endswith((".list", ".search")):
                return None
            return [NodeSource(_HANDLES[root], name, call.lineno)]
        if (asked := self._agents.asked(call)) is not None and (agent := self._nodes.agent(asked)) is not None:
            return [agent]
        if name in ("arun", "run") and (nodes := self._nodes.workflow(root)):
            return [NodeSource("Workflow", root, call.lineno, branches=(Branch("", nodes),))]
        if name in ("arun", "chat"):
            return [NodeSource("Agent", root, call.lineno)]
        function = self._functions.get(root) if not name else None
        if function is None or root in self._open or len(self._open) > _MAX_CALLS:
            return None
        self._left -= 1  # also where nothing is found: functions that call functions are many
        self._open.append(root)
        nodes = [node for item in call.args for node in self._expression(item)]
        nodes += self._block(function.body)
        self._open.pop()
        return nodes or None

    def _method(self, call: ast.Call) -> str:
        root, _, name = self._origins.of(call.func).partition(".")
        return name if root in _CONTEXTS else ""

    def _step(self, call: ast.Call, work: ast.expr | None) -> NodeSource:
        named = read_text(call.args[0]) if call.args else None
        name = named or (shown(call.args[0]) if call.args else "...")
        approved = any(
            keyword.arg == "requires_approval" and isinstance(keyword.value, ast.Constant) and keyword.value.value
            for keyword in call.keywords
        )
        note = "after an approval" if approved else ""
        # What it runs may stand in place of its name: `ctx.step(writer, notes)`.
        given = work if work is not None or named is not None or not call.args else call.args[0]
        asked = self._agents.asked(given) if isinstance(given, ast.Call) else given
        agent = self._nodes.agent(asked) if asked is not None else None
        if agent is not None:
            branches = (Branch("", (agent,)),) if agent.branches else ()
            name = named or agent.name
            return NodeSource("Step", name, call.lineno, work=f"agent {agent.name}", note=note, branches=branches)
        return NodeSource("Step", name, call.lineno, work="" if work is None else shown(work), note=note)


def _pattern(pattern: ast.pattern) -> str:
    text = ast.unparse(pattern)
    return text if len(text) <= 40 else text[:37] + "..."


def _first(call: ast.Call) -> str:
    return (read_text(call.args[0]) if call.args else None) or "..."
