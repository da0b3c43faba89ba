"""The typed codec: values of a workflow as JSON that comes back as the same types.

Plain JSON stays as it is. Anything else is an object with the key `$`:
`{"$": "bytes", "v": "aGk="}`. A dict that cannot be a plain object (it has the key `$`, or keys that are no
strings) is `{"$": "dict", "v": [[key, value], ...]}`. Classes are named `Qualified.Name` where the workflow's own
module defines them, else `module:Qualified.Name`.
"""

import base64
import dataclasses
import enum
import hashlib
import json
import math
import types
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

TAG = "$"
MAX_DEPTH = 48  # nesting of a value; the host's own limit on frames is 64
INT_BITS = 63  # larger integers travel as text: JSON readers elsewhere would round them
WORKFLOW_MODULE = "workflow"


class CodecError(TypeError):
    """A value that the journal cannot hold."""


def digest(encoded: Any) -> str:
    """Return 16 hex digits that name an encoded value."""
    text = json.dumps(encoded, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def encode(value: Any, where: str = "value") -> Any:
    """Return the JSON form of `value`.

    Raises:
        CodecError: it holds something that the codec does not know; the message names the place and the type.
    """
    return _encode(value, where, 0)


def _encode(value: Any, where: str, depth: int) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return _text(value)
    if kind is int:
        return value if value.bit_length() <= INT_BITS else {TAG: "int", "v": str(value)}
    if kind is float:
        return value if math.isfinite(value) else {TAG: "float", "v": repr(value)}
    if depth >= MAX_DEPTH:
        raise CodecError(f"{where} is nested deeper than {MAX_DEPTH}; pass flatter data, or an artifact")
    if kind is list:
        return [_encode(item, where, depth + 1) for item in value]
    if kind is dict:
        return _mapping(value, where, depth)
    encoder = _ENCODERS.get(kind)
    if encoder is not None:
        return encoder(value, lambda item: _encode(item, where, depth + 1))
    return _other(value, where, depth)


def _text(value: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        return {TAG: "str", "v": _b64(value.encode("utf-8", "surrogatepass"))}
    return value


def _is_text(key: Any) -> bool:
    return type(key) is str and type(_text(key)) is str


def _mapping(value: Mapping[Any, Any], where: str, depth: int) -> Any:
    if TAG not in value and all((type(key) is str and key.isascii()) or _is_text(key) for key in value):
        return {key: _encode(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    pairs = [[_encode(k, where, depth + 1), _encode(v, where, depth + 1)] for k, v in value.items()]
    return {TAG: "dict", "v": pairs}


def _other(value: Any, where: str, depth: int) -> Any:
    cls: Any = type(value)
    if isinstance(value, enum.Enum):
        return {TAG: "enum", "c": class_name(type(value)), "v": value.name}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: _encode(getattr(value, field.name), f"{where}.{field.name}", depth + 1)
            for field in dataclasses.fields(value)
        }
        return {TAG: "data", "c": class_name(type(value)), "v": fields}
    if hasattr(cls, "model_dump") and hasattr(cls, "model_validate"):
        return {TAG: "model", "c": class_name(cls), "v": _encode(cls.model_dump(value), where, depth + 1)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {TAG: "named", "c": class_name(type(value)), "v": [_encode(i, where, depth + 1) for i in value]}
    return _plain_subclass(value, where, depth)


def _plain_subclass(value: Any, where: str, depth: int) -> Any:
    plain: Any
    for plain in (bool, int, float, str, bytes, list, tuple):
        if isinstance(value, plain):
            return _encode(plain(value), where, depth)
    if isinstance(value, Mapping):
        return _encode(dict(value), where, depth)
    if isinstance(value, PurePath):
        return {TAG: "path", "v": str(value)}
    if isinstance(value, AbstractSet) and not isinstance(value, (KeysView, ItemsView)):
        return _encode(set(value), where, depth)
    if isinstance(value, (KeysView, ValuesView, ItemsView, Iterator, range, memoryview, map, zip, filter)):
        return _encode(bytes(value) if isinstance(value, memoryview) else list(value), where, depth)
    if isinstance(value, types.CoroutineType):
        raise CodecError(f"{where} is a coroutine that was never awaited: write `await` before the call")
    raise CodecError(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be stored; "
        "return JSON values, dataclasses, dates, Decimal, bytes, sets or tuples"
    )


def _ordered(items: Any, enc: Callable[[Any], Any]) -> list[Any]:
    # Sets have no order; sorted by their encoded text they always give the same digest.
    return sorted((enc(item) for item in items), key=lambda item: json.dumps(item, sort_keys=True))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_ENCODERS: dict[type, Callable[[Any, Callable[[Any], Any]], Any]] = {
    tuple: lambda v, enc: {TAG: "tuple", "v": [enc(item) for item in v]},
    set: lambda v, enc: {TAG: "set", "v": _ordered(v, enc)},
    frozenset: lambda v, enc: {TAG: "frozenset", "v": _ordered(v, enc)},
    bytes: lambda v, _: {TAG: "bytes", "v": _b64(v)},
    bytearray: lambda v, _: {TAG: "bytes", "v": _b64(bytes(v))},
    datetime: lambda v, _: {TAG: "datetime", "v": v.isoformat()},
    date: lambda v, _: {TAG: "date", "v": v.isoformat()},
    time: lambda v, _: {TAG: "time", "v": v.isoformat()},
    timedelta: lambda v, _: {TAG: "timedelta", "v": [v.days, v.seconds, v.microseconds]},
    Decimal: lambda v, _: {TAG: "decimal", "v": str(v)},
    UUID: lambda v, _: {TAG: "uuid", "v": str(v)},
}

_DECODERS: dict[str, Callable[[Any], Any]] = {
    "str": lambda v: base64.b64decode(v).decode("utf-8", "surrogatepass"),
    "int": int,
    "float": float,
    "bytes": base64.b64decode,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda v: timedelta(*v),
    "decimal": Decimal,
    "uuid": UUID,
    "path": Path,
}


def decode(encoded: Any, find_class: Callable[[str], type | None]) -> Any:
    """Return the value of an encoded form. Used in the guest only: it builds the workflow's classes."""
    if type(encoded) is list:
        return [decode(item, find_class) for item in encoded]
    if type(encoded) is not dict:
        return encoded
    tag = encoded.get(TAG)
    if tag is None:
        return {key: decode(item, find_class) for key, item in encoded.items()}
    if tag in _DECODERS:
        return _DECODERS[tag](encoded["v"])
    value = decode(encoded["v"], find_class)
    if tag in ("tuple", "set", "frozenset"):
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[tag](value)
    if tag == "dict":
        return dict(value)
    return _build(tag, find_class(encoded["c"]), value)


def _build(tag: str, cls: Any, value: Any) -> Any:
    if cls is None:
        return value
    if tag == "enum":
        return cls[value]
    if tag == "model":
        return cls.model_validate(value)
    if tag == "named":
        return cls(*value)
    # Not __init__: a field may be init=False, and __post_init__ must not run twice on one value.
    built = object.__new__(cls)
    for name, item in value.items():
        object.__setattr__(built, name, item)
    return built


def class_name(cls: type) -> str:
    """Return the name under which `find_class` finds it again."""
    return cls.__qualname__ if cls.__module__ == WORKFLOW_MODULE else f"{cls.__module__}:{cls.__qualname__}"
