"""Third-party packages: loaded when a run begins, before its code, in a process that is confined already.

What they read of clock and chance while they load follows from the run's seed, so that it is the same on a replay. At
levels where a workflow could write machine code into its scratch directory, compiled modules load only here.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator

from stepwell_sandbox.guest import arrays, streams
from stepwell_sandbox.guest.streams import BodyStream, World

PLACE = "packages/"


def load(path: str, source: str, world: World) -> None:
    """Make the packages in the folder `path` importable, and import those that the source names.

    One that fails to load is left to the workflow's own import, where the error has a line.
    """
    sys.path.append(path)
    importlib.invalidate_caches()
    arrays.watch()
    token = streams.thread.set(BodyStream(world, PLACE))
    try:
        for name in dict.fromkeys(_modules(ast.parse(source))):
            _import(name)
    finally:
        streams.thread.reset(token)


def _import(name: str) -> None:
    top, _, _ = name.partition(".")
    if top in sys.stdlib_module_names or top == "stepwell":
        return
    try:
        if name == top or (top in sys.modules and importlib.util.find_spec(name) is not None):
            importlib.import_module(name)
    except BaseException:  # noqa: BLE001  third-party code
        return


def _modules(tree: ast.Module) -> Iterator[str]:
    """Yield what may be modules: names that are imported, and what is taken from them (`np.random.default_rng`)."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
                bound = alias.name if alias.asname else alias.name.partition(".")[0]
                known[alias.asname or bound] = bound
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from _with_parents(node.module)
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (dotted := _dotted(node)) is not None:
            root, _, rest = dotted.partition(".")
            if root in known:
                yield from _with_parents(f"{known[root]}.{rest}")


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:n]) for n in range(1, len(parts) + 1))


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None
