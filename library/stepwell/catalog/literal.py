"""Literals of a source as JSON, without evaluating anything."""

import ast
import math
from typing import cast

from stepwell.model import Json

_JOINERS = "\u200c\u200d"  # invisible, and part of the spelling of Persian and of emoji
_MAX_INT_BITS = 63  # what every JSON reader and the store take


class NotLiteral(Exception):
    """The expression is no literal, or none that JSON can hold."""


def read_literal(node: ast.expr) -> Json:
    """Return the JSON value of a literal; tuples become lists.

    Raises:
        NotLiteral: it must be run to be known, or has no JSON form (bytes, sets, NaN, half surrogates).
    """
    try:
        value = ast.literal_eval(node)
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
