"""Agents as a source makes them: what they are called, and which ones are made of others."""

import ast

from stepwell.catalog.literal import read_text
from stepwell.catalog.origins import Origins

SINGLE = frozenset({"Agent", "agent", "UniversalAgent"})
COMPOSED = frozenset({"SequentialAgent", "ParallelAgent", "ConditionalAgent", "LoopAgent", "Team"})
ASKING = frozenset({"arun", "chat", "run"})


class Agents:
    """The agents that a module assigns to names."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self._made: dict[str, ast.Call] = {}
        for node in origins.nodes:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    self._assign(target, node.value)

    def _assign(self, target: ast.expr, value: ast.expr | None) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, given in zip(target.elts, value.elts, strict=False):
                self._assign(one, given)
        elif isinstance(target, ast.Name) and isinstance(value, ast.Call) and self.kind(value):
            self._made[target.id] = value

    def kind(self, node: ast.expr | None) -> str:
        """Return the class of what an expression makes if that can be asked: `Agent`, `Team`; else an empty text."""
        if not isinstance(node, ast.Call):
            return ""
        kind = self._origins.last(node.func) or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
        if kind in SINGLE:
            return "Agent"
        return "Team" if kind == "team" else kind if kind in COMPOSED else ""

    def follow(self, node: ast.expr | None) -> ast.Call | None:
        """Return the call that makes the agent which an expression stands for; None if it stands for none."""
        if isinstance(node, ast.Name):
            return self._made.get(node.id)
        return node if isinstance(node, ast.Call) and self.kind(node) else None

    def title(self, node: ast.expr) -> str | None:
        """Return what an agent is called, `agents.x` included; None if it is no agent that can be read."""
        root, _, name = self._origins.of(node).partition(".")
        if root == "agents" and name and "." not in name:
            return None if name == "list" else name
        made = self.follow(node)
        if made is None:
            return None
        given = next((keyword.value for keyword in made.keywords if keyword.arg == "name"), None)
        named = read_text(given or (made.args[0] if made.args else None))
        return named or (node.id if isinstance(node, ast.Name) else self.kind(made))

    def asked(self, call: ast.Call) -> ast.expr | None:
        """Return the agent that a call asks; None if it asks none."""
        func = call.func
        if isinstance(func, ast.Attribute) and func.attr in ASKING and self.title(func.value) is not None:
            return func.value
        return func if self.title(func) is not None else None
