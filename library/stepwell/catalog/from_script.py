"""Ad hoc code as a workflow: its top-level constants become parameters, its last value what `run` returns."""

import ast
import symtable
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from textwrap import indent
from typing import TypeAlias

from stepwell.catalog.literal import NotLiteral, read_literal
from stepwell.catalog.parameters import CONTEXT_NAMES
from stepwell.catalog.source import parse
from stepwell.model import Json

_KEPT = frozenset({"options", "triggers"})  # read by Stepwell at the top of a module
_NO_PARAMETERS = _KEPT | CONTEXT_NAMES  # the engine fills those of the context
_HINTS: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "dict"}
_Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Import: TypeAlias = ast.Import | ast.ImportFrom


def make_module(code: str, given: Mapping[str, Json]) -> str:
    """Return the source of a workflow that does what a script did; `given` are the variables that it was run with.

    Constants keep their values as defaults, variables are required. Imports stay at the top, and so do functions and
    classes that use nothing of what is inside `run` now.

    Raises:
        InvalidSource: it is no Python.
    """
    parsed = parse(code)
    lines = parsed.source.split("\n")
    statements = list(parsed.tree.body)
    parts = [_comment_before(statements[0], 0, lines)]
    if len(statements) > 1 and ast.get_docstring(parsed.tree, clean=False) is not None:
        parts.append(ast.unparse(statements.pop(0)))
    constants = _find_parameters(parsed.source, statements)
    texts = _texts(statements, lines)
    body = [node for node in statements if _constant_name(node) not in constants]
    top = [node for node in body if isinstance(node, _Import | _Definition) or _constant_name(node) in _KEPT]
    taken = {*constants, *given, *(name for node in body if node not in top for name in _bound(node))}
    while moved := [node for node in top if not isinstance(node, _Import) and _named(node) & taken]:
        top = [node for node in top if node not in moved]
        taken |= {name for node in moved for name in _bound(node)}
    parts += [texts[node] for node in top]
    required = [f"{name}: {hint}" if (hint := _hint(value)) else name for name, value in given.items()]
    optional = [text for name, text in constants.items() if name not in given]
    parts.append(_write_run([node for node in body if node not in top], [*required, *optional], texts, taken))
    return "\n\n\n".join(part for part in parts if part) + "\n"


def _find_parameters(source: str, statements: list[ast.stmt]) -> dict[str, str]:
    """Return the constants that nothing changes, each with its parameter: `city: str = 'Berlin'`."""
    times = Counter(
        node.id
        for statement in statements
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    )
    declared = set(_list_globals(symtable.symtable(source, "<workflow>", "exec")))
    found: dict[str, str] = {}
    for node in statements:
        name = _constant_name(node)
        if name is None or name in _NO_PARAMETERS or name in declared or name.startswith("_") or times[name] > 1:
            continue
        assert isinstance(node, ast.Assign | ast.AnnAssign)
        assert node.value is not None
        try:
            value = read_literal(node.value)
        except NotLiteral:
            continue
        hint = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else _hint(value)
        found[name] = f"{name}: {hint} = {ast.unparse(node.value)}" if hint else f"{name}={ast.unparse(node.value)}"
    return found


def _list_globals(table: symtable.SymbolTable) -> Iterator[str]:
    for scope in table.get_children():
        yield from (symbol.get_name() for symbol in scope.get_symbols() if symbol.is_declared_global())
        yield from _list_globals(scope)


def _constant_name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    if isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
        return node.target.id
    return None


def _hint(value: Json) -> str:
    return _HINTS.get(type(value), "")


def _bound(node: ast.stmt) -> set[str]:
    """Return the names that a statement gives to the scope in which it stands."""
    names: set[str] = set()
    for inner in _own(node):
        match inner:
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {(alias.asname or alias.name).partition(".")[0] for alias in aliases}
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
            case _:
                continue
    return names


def _named(node: ast.stmt) -> set[str]:
    declared = {name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names}
    return declared | {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is run when the statement is, without what is inside of functions and classes."""
    yield node
    if not isinstance(node, _Definition | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _own(child)


def _write_run(
    inside: list[ast.stmt], parameters: list[str], texts: Mapping[ast.stmt, str], taken: Iterable[str]
) -> str:
    body = [
        _unparse_inside(_Nested(taken).visit(node))
        if _declares(node) or _has_long_text(node)
        else indent(texts[node], "    ")
        for node in inside
    ]
    waits = any(isinstance(n, ast.Await | ast.AsyncFor | ast.AsyncWith) for node in inside for n in _own(node))
    if inside and isinstance(inside[-1], ast.Expr):
        value = inside[-1].value
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "asyncio.run" and value.args:
            value, waits = ast.Await(value.args[0]), True
        body[-1] = _unparse_inside(ast.Return(value))
    written = "\n".join(body) or "    return None"
    return f"{'async ' if waits else ''}def run({', '.join(parameters)}):\n{written}"


def _unparse_inside(node: ast.stmt) -> str:
    """Return a statement indented; the lines of texts that go over several stay as they are."""
    return ast.unparse(ast.If(ast.Constant(True), [node], [])).partition("\n")[2]


def _declares(node: ast.stmt) -> bool:
    return any(isinstance(inner, ast.Global) for inner in ast.walk(node))


class _Nested(ast.NodeTransformer):
    """What was global to a function is a variable of `run` now."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)

    def visit_Global(self, node: ast.Global) -> ast.stmt:
        return ast.Nonlocal(node.names) if self._names.issuperset(node.names) else node


def _texts(statements: list[ast.stmt], lines: list[str]) -> dict[ast.stmt, str]:
    """Return each statement with the comment before it, as it was written if it can be indented so."""
    texts: dict[ast.stmt, str] = {}
    before = 0
    for position, node in enumerate(statements):
        first, last = _first_line(node), node.end_lineno or node.lineno
        following = statements[position + 1 :]
        shared = first <= before or (bool(following) and _first_line(following[0]) <= last)
        comment = _comment_before(node, before, lines) if position else ""
        text = ast.unparse(node) if shared or _has_long_text(node) else "\n".join(lines[first - 1 : last])
        texts[node] = f"{comment}\n{text}" if comment else text
        before = last
    return texts


def _comment_before(node: ast.stmt, after: int, lines: list[str]) -> str:
    return "\n".join(line for line in lines[after : _first_line(node) - 1] if line.startswith("#"))


def _first_line(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, _Definition) else []
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _has_long_text(node: ast.stmt) -> bool:
    return any(
        isinstance(inner, ast.Constant | ast.JoinedStr) and inner.end_lineno != inner.lineno for inner in ast.walk(node)
    )
