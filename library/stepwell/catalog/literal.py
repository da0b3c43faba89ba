"""Literals of a source as JSON, without evaluating anything."""

import ast
import copy
import math
from typing import cast

from stepwell.model import Json

_JOINERS = "\u200c\u200d"  # invisible, and part of the spelling of Persian and of emoji
_MAX_INT_BITS = 63  # what every JSON reader and the store take


class NotLiteral(Exception):
    """The expression is no literal, or none that JSON can hold."""


def read_literal(node: ast.expr) -> Json:
    """Return the JSON value of a literal; tuples become lists. `24 * 3600` and `dict(a=1)` count as literals.

    Raises:
        NotLiteral: it must be run to be known, or has no JSON form (bytes, sets, NaN, half surrogates).
    """
    try:
        value = ast.literal_eval(_literal(node))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise NotLiteral from error
    return _to_json(value)


def read_text(node: ast.expr | None) -> str | None:
    """Return the value of a string literal, or None."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return None
    return as_text(node.value)


def as_text(text: str) -> str:
    """Return `text` without what no store or terminal takes: control characters and half surrogates."""
    valid = text.encode("utf-8", "replace").decode()
    return "".join(char for char in valid if char.isprintable() or char.isspace() or char in _JOINERS)


class _Written(ast.NodeTransformer):
    """Writes `dict(a=1)` as a dict and a product of whole numbers as its value."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        left, right = (side.value if isinstance(side, ast.Constant) else None for side in (node.left, node.right))
        if isinstance(node.op, ast.Mult) and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() + right.bit_length() > _MAX_INT_BITS:
                raise NotLiteral
            return ast.copy_location(ast.Constant(left * right), node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
            names: list[ast.expr | None] = [
                None if item.arg is None else ast.Constant(item.arg) for item in node.keywords
            ]
            return ast.copy_location(ast.Dict(names, [item.value for item in node.keywords]), node)
        return node


def _literal(node: ast.expr) -> ast.expr:
    if not any(isinstance(inner, (ast.BinOp, ast.Call)) for inner in ast.walk(node)):
        return node
    return _Written().visit(copy.deepcopy(node))


def _to_json(value: object) -> Json:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value.bit_length() > _MAX_INT_BITS:
            raise NotLiteral
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotLiteral
        return value
    if isinstance(value, str):
        return _text_to_json(value)
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {_key(key): _to_json(item) for key, item in cast("dict[object, object]", value).items()}
    raise NotLiteral


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise NotLiteral
    return _text_to_json(key)


def _text_to_json(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise NotLiteral from error
    return value
