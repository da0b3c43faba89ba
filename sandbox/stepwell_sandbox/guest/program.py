"""A workflow's source, made into something that can be run."""

import ast
import base64
import builtins
import importlib.util
import inspect
import linecache
import marshal
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

import stepwell
from stepwell.sdk import codec
from stepwell.sdk.context import WORKFLOW_FILE, ctx
from stepwell.sdk.handles import describe
from stepwell_sandbox.guest.inputs import convert

AWAIT = "__stepwell_await__"
RESULT = "__stepwell_result__"
MAGIC = importlib.util.MAGIC_NUMBER.hex()
HANDLES = ("tools", "workflows", "artifacts", "agents", "ctx")


class _PlainAwait(ast.NodeTransformer):
    """`await E` lets a plain value pass, so that `await tools.x()` works though `tools.x()` blocks."""

    def visit_Await(self, node: ast.Await) -> ast.Await:
        self.generic_visit(node)
        call = ast.Call(ast.Name(AWAIT, ast.Load()), [node.value], [])
        return ast.copy_location(ast.Await(ast.copy_location(call, node.value)), node)


class _Passing:
    """An awaitable that is done."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Any:
        return self._value
        yield


def _awaitable(value: Any) -> Any:
    return value if hasattr(value, "__await__") or inspect.isawaitable(value) else _Passing(value)


def load(source: str, given: dict[str, Any]) -> types.ModuleType:
    """Return a fresh module with the handles in it."""
    linecache.cache[WORKFLOW_FILE] = (len(source), None, source.splitlines(keepends=True), WORKFLOW_FILE)
    module = types.ModuleType(codec.WORKFLOW_MODULE)
    module.__file__ = WORKFLOW_FILE
    names = module.__dict__
    names.update({name: getattr(stepwell, name) for name in HANDLES})
    names.update({AWAIT: _awaitable, "__builtins__": builtins, "help": describe})
    names.update(given)
    sys.modules[codec.WORKFLOW_MODULE] = module
    return module


def compile_source(source: str, *, script: bool) -> types.CodeType:
    """Return the code that fills a module."""
    tree = ast.parse(source, WORKFLOW_FILE)
    tree.body = _keep_last_value(tree.body) if script else [node for node in tree.body if not _starts_itself(node)]
    tree = ast.fix_missing_locations(_PlainAwait().visit(tree))
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if script else 0
    return compile(tree, WORKFLOW_FILE, "exec", flags=flags, dont_inherit=True)


def write_code(code: types.CodeType) -> str:
    """Return code as text, for another process of the same Python."""
    return MAGIC + base64.b64encode(marshal.dumps(code)).decode()


def read_code(text: str) -> types.CodeType | None:
    """Return what `write_code` has written, None if that was another Python."""
    return marshal.loads(base64.b64decode(text[len(MAGIC) :])) if text.startswith(MAGIC) else None  # noqa: S302


def _starts_itself(node: ast.stmt) -> bool:
    # `asyncio.run(main())` at the bottom: a stored workflow is started by its host.
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    return ast.unparse(node.value.func) in ("asyncio.run", "anyio.run")


def _keep_last_value(body: list[ast.stmt]) -> list[ast.stmt]:
    if body and isinstance(body[-1], ast.Expr):
        value = body[-1].value
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "asyncio.run" and value.args:
            value = ast.copy_location(ast.Await(value.args[0]), value)
        target = ast.copy_location(ast.Name(RESULT, ast.Store()), body[-1])
        return [*body[:-1], ast.copy_location(ast.Assign([target], value), body[-1])]
    return body


def bind_entry(entry: Any, context_parameters: list[str], inputs: dict[str, Any]) -> Callable[[], Any]:
    """Return a call of the entry with its inputs as the types that it declares."""
    values = typed(entry, inputs)
    values.update(dict.fromkeys(context_parameters, ctx))
    if _is_plain(entry) and not entry.__code__.co_posonlyargcount:
        return lambda: entry(**values)
    bound = inspect.signature(entry).bind(**values)
    return lambda: entry(*bound.args, **bound.kwargs)


def typed(function: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return inputs as the types that a function declares."""
    written: dict[str, Any] = getattr(function, "__annotations__", {})
    # Of classes there is nothing to find out, and asking `typing` takes as long as the start of an event loop.
    known = _is_plain(function) and all(issubclass(type(written.get(name, object)), type) for name in inputs)
    hints = written if known else _hints(function)
    return {name: convert(value, hints.get(name)) for name, value in inputs.items()}


def _is_plain(entry: Any) -> bool:
    """Whether it takes what it says, and not what a function behind it does."""
    return isinstance(entry, types.FunctionType) and not hasattr(entry, "__wrapped__")


def _hints(entry: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(entry)
    except Exception:  # noqa: BLE001  a hint that cannot be evaluated is no hint
        return {}
