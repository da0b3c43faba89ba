"""Where a name in the source comes from: `t.Optional` after `import typing as t` is `typing.Optional`."""

import ast

# The product's own names are known without their package, as the guest also offers them without import.
_OWN = ("stepwell.sdk.", "stepwell.")


class Origins:
    """The imports of a module, of all its scopes together."""

    def __init__(self, tree: ast.Module) -> None:
        self.nodes = tuple(ast.walk(tree))
        """All of the module, since each walk through a tree takes as long as parsing it."""
        self._names: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname:
                        self._names[alias.asname] = alias.name
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    self._names[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def of(self, node: ast.AST) -> str:
        """Return the dotted origin of a name or attribute chain, else an empty string."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        parts.append(self._names.get(node.id, node.id))
        dotted = ".".join(reversed(parts))
        for package in _OWN:
            if dotted.startswith(package):
                return dotted.removeprefix(package)
        return dotted

    def last(self, node: ast.AST) -> str:
        """Return the last part of the origin: `Workflow` for `stepwell.Workflow`."""
        return self.of(node).rpartition(".")[2]
