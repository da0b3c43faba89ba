"""The typed codec: values of a workflow as JSON that comes back as the same types.

Plain JSON stays as it is. Anything else is an object with the key `$`:
`{"$": "bytes", "v": "aGk="}`. A dict that cannot be a plain object (it has the key `$`, or keys that are no
strings) is `{"$": "dict", "v": [[key, value], ...]}`. Classes are named `Qualified.Name` where the workflow's own
module defines them, else `module:Qualified.Name`. What stands beside `v` is for the guest only: the member's name of
an enum (`n`), the attributes of a dataclass that are no fields (`d`).
"""

import base64
import dataclasses
import enum
import hashlib
import inspect
import io
import json
import math
from collections.abc import AsyncIterator, Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from stepwell.sdk.quick_json import quick_encoder

_STORED = "return JSON values, dataclasses, dates, Decimal, bytes, sets or tuples"
TAG = "$"
MAX_DEPTH = 56  # nesting of the JSON; the host's own limit on a frame, which wraps it, is 64
MAX_PARTS = 99_000  # values in values; the host's own limit on a frame is 100,000
MAX_ITEMS = 1_000_000  # taken from an iterator, which may have no end
INT_BITS = 63  # larger integers travel as text: JSON readers elsewhere would round them
WORKFLOW_MODULE = "workflow"


_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
_canonical = quick_encoder(_encoder)
_CONTAINERS = frozenset((list, dict))
_ATOMS = frozenset((type(None), bool, int, float, str, bytes))


class CodecError(TypeError):
    """A value that the journal cannot hold."""


def digest(encoded: Any) -> str:
    """Return 16 hex digits that name an encoded value."""
    return hashlib.blake2b(_canonical(encoded).encode(), digest_size=8).hexdigest()


def digest_in_parts(encoded: Any) -> str:
    """Return the same as `digest`, more slowly, without holding up other threads for as long as that takes."""
    found = hashlib.blake2b(digest_size=8)
    for part in _encoder.iterencode(encoded):
        found.update(part.encode())
    return found.hexdigest()


def encode(value: Any, where: str = "value") -> Any:
    """Return the JSON form of `value`. Iterators are consumed, and come back as lists.

    Raises:
        CodecError: it holds something that the codec does not know; the message names the place and the type.
    """
    try:
        encoded = _encode(value, where, 0)
        if type(encoded) in _CONTAINERS:
            _check_parts(encoded, where)
    except (CodecError, MemoryError):
        raise
    except Exception as error:  # the value's own code: properties, iterators, `__str__`
        raise CodecError(f"{where} cannot be stored: {_reason(error)}") from error
    return encoded


def _check_parts(encoded: Any, where: str) -> None:
    parts, containers = 0, [encoded]
    while containers:
        container: Any = containers.pop()
        parts += len(container) or 1
        inner = container.values() if type(container) is dict else container
        containers += [item for item in inner if type(item) in _CONTAINERS]
    if parts > MAX_PARTS:
        raise CodecError(
            f"{where} has {parts} parts, at most {MAX_PARTS} can be stored; pass it as text (json.dumps) or bytes, or "
            "save it with artifacts.save() and pass the name on"
        )


def _reason(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  the author's __str__
        return type(error).__name__


def _encode(value: Any, where: str, depth: int, *, strict: bool = False) -> Any:
    """`strict`: an attribute that is no field counts as well; see `_attributes`."""
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
        raise CodecError(f"{where} is nested too deep, or holds itself; pass flatter data, or text of json.dumps()")
    if kind in (list, dict) and not value:
        return kind()
    if kind is list:
        return [_encode(item, where, depth + 1, strict=strict) for item in value]
    if kind is dict:
        return _mapping(value, where, depth, strict=strict)
    encoder = _ENCODERS.get(kind)
    if encoder is not None:
        return encoder(value, lambda item: _encode(item, where, depth + 2, strict=strict))
    return _other(value, where, depth, strict=strict)


def _text(value: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        return {TAG: "str", "v": _b64(value.encode("utf-8", "surrogatepass"))}
    return value


def _is_text(key: Any) -> bool:
    return type(key) is str and type(_text(key)) is str


def _mapping(value: Mapping[Any, Any], where: str, depth: int, *, strict: bool) -> Any:
    if TAG not in value and all((type(key) is str and key.isascii()) or _is_text(key) for key in value):
        return {key: _encode(item, f"{where}.{key}", depth + 1, strict=strict) for key, item in value.items()}
    pairs = [
        [_encode(k, where, depth + 3, strict=strict), _encode(v, where, depth + 3, strict=strict)]
        for k, v in value.items()
    ]
    return {TAG: "dict", "v": pairs}


def _other(value: Any, where: str, depth: int, *, strict: bool) -> Any:
    cls: Any = type(value)
    if isinstance(value, enum.Enum):
        return _member(value, where, depth, strict=strict)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _record(value, where, depth, strict=strict)
    if hasattr(cls, "model_dump") and hasattr(cls, "model_validate"):
        return {TAG: "model", "c": class_name(cls), "v": _encode(cls.model_dump(value), where, depth + 1)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [_encode(item, where, depth + 2, strict=strict) for item in value]
        return {TAG: "named", "c": class_name(cls), "v": items}
    return _plain_subclass(value, where, depth, strict=strict)


def _member(value: enum.Enum, where: str, depth: int, *, strict: bool) -> Any:
    encoded = {TAG: "enum", "c": class_name(type(value))}
    # A flag may be a combination, which has no name of its own.
    if isinstance(value, enum.Flag):
        return encoded | {"v": _encode(value.value, where, depth + 1)}
    try:
        inner = _encode(value.value, where, depth + 1, strict=strict)
    except CodecError:
        inner = value.name
    return encoded | {"n": value.name, "v": inner}


def _record(value: Any, where: str, depth: int, *, strict: bool) -> Any:
    cls: Any = type(value)
    if not issubclass(base := builtin_base(cls), BaseException) and base is not object:
        raise CodecError(
            f"{where} is a dataclass that is a {base.__name__} too, which cannot be stored; make the "
            f"{base.__name__} one of its fields"
        )
    values = {field.name: getattr(value, field.name, _MISSING) for field in dataclasses.fields(value)}
    fields = {
        name: _encode(item, f"{where}.{name}", depth + 2, strict=strict)
        for name, item in values.items()
        if item is not _MISSING
    }
    encoded = {TAG: "data", "c": class_name(cls), "v": fields}
    own: dict[str, Any] = getattr(value, "__dict__", {})
    others = {name: item for name, item in own.items() if name not in fields and name.isidentifier()}
    attributes = _attributes(others, where, depth + 1, strict=strict) if others else None
    return encoded | {"d": attributes} if attributes else encoded


def _attributes(values: dict[str, Any], where: str, depth: int, *, strict: bool) -> dict[str, Any]:
    """Return the attributes that can be stored.

    Inside of one of them all must be: leaving some out on every level would take exponential time in objects that
    refer to each other.
    """
    encoded: dict[str, Any] = {}
    for name, item in values.items():
        try:
            encoded[name] = _encode(item, f"{where}.{name}", depth + 1, strict=True)
        except CodecError:
            if strict:
                raise
    return encoded


def _plain_subclass(value: Any, where: str, depth: int, *, strict: bool) -> Any:
    for plain, make in _PLAIN.items():
        if isinstance(value, plain):
            return _encode(make(value), where, depth, strict=strict)
    if isinstance(value, Mapping):
        return _encode({**value}, where, depth, strict=strict)
    if isinstance(value, PurePath):
        return {TAG: "path", "v": _text(str(value))}
    if isinstance(value, AbstractSet) and not isinstance(value, (KeysView, ItemsView)):
        return _encode(set(value), where, depth, strict=strict)
    if isinstance(value, (KeysView, ValuesView, ItemsView, range)) or _is_iterator(value):
        return _encode(_listed(value, where), where, depth, strict=strict)
    if isinstance(value, memoryview):
        return _encode(bytes(value), where, depth)
    if inspect.isawaitable(value):
        what = "coroutine" if inspect.iscoroutine(value) else "call"
        raise CodecError(f"{where} is a {what} that was never awaited: write `await` before the call")
    if isinstance(value, AsyncIterator):
        raise CodecError(f"{where} is an async generator; collect its items: [item async for item in ...]")
    raise CodecError(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be stored; "
        + ("pass its .tolist()" if hasattr(value, "tolist") else _STORED)
    )


def settled(value: Any) -> Any:
    """Return `value` with a list in place of each iterator: itself, or in lists, tuples and dicts of any depth.

    An iterator can be read only once; its list can be read for a digest, for a copy, and by every attempt. What
    holds no iterator is returned as it is, not copied.

    Raises:
        CodecError: an iterator has no end. What an iterator itself raises is passed on.
    """
    return _settled(value, {}, 0)


def _settled(value: Any, seen: dict[int, Any], depth: int) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if id(value) in seen:
        return seen[id(value)]
    if kind not in (list, tuple, dict):
        if not _is_iterator(value):
            return value
        seen[id(value)] = found = _listed(value, "the iterator")
        return found
    if all(type(item) in _ATOMS for item in (value.values() if kind is dict else value)):
        return value
    seen[id(value)] = value
    if depth >= MAX_DEPTH:
        return value
    if kind is dict:
        found = {key: _settled(item, seen, depth + 1) for key, item in value.items()}
        same = all(found[key] is item for key, item in value.items())
    else:
        found = kind(_settled(item, seen, depth + 1) for item in value)
        same = all(new is old for new, old in zip(found, value, strict=True))
    if not same:
        seen[id(value)] = found
    return seen[id(value)]


def _is_iterator(value: Any) -> bool:
    return isinstance(value, Iterator) and not isinstance(value, io.IOBase) and not inspect.isawaitable(value)


def _listed(value: Iterable[Any], where: str) -> list[Any]:
    items = list(islice(value, MAX_ITEMS + 1))
    if len(items) > MAX_ITEMS:
        raise CodecError(f"{where} has more than {MAX_ITEMS:,} items, or no end")
    return items


def _ordered(items: Any, enc: Callable[[Any], Any]) -> list[Any]:
    # Sets have no order; sorted by their encoded text they always give the same digest.
    return sorted((enc(item) for item in items), key=lambda item: json.dumps(item, sort_keys=True))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_MISSING: Any = object()

_PLAIN: dict[type, Callable[[Any], Any]] = {
    # The types' own methods: a subclass may have another `__str__`, or one that gives a subclass again.
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: bytes,
    list: list,
    tuple: tuple,
}

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
    "str": lambda v: base64.b64decode(v, validate=True).decode("utf-8", "surrogatepass"),
    "int": int,
    "float": float,
    "bytes": lambda v: base64.b64decode(v, validate=True),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda v: timedelta(*v),
    "decimal": Decimal,
    "uuid": UUID,
}

_COLLECTIONS: dict[str, Callable[[Any], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict}


def decode(encoded: Any, find_class: Callable[[str], type | None], where: str = "the value") -> Any:
    """Return the value of an encoded form. Used in the guest only: it builds the workflow's classes.

    Raises:
        CodecError: the form is malformed, or a class of the workflow cannot be built from it.
    """
    try:
        return _decode(encoded, find_class)
    except (CodecError, MemoryError):
        raise
    except Exception as error:  # the author's classes, or a form that another run made up
        raise CodecError(f"{where} cannot be built again from its stored form: {_reason(error)}") from error


def _decode(encoded: Any, find_class: Callable[[str], type | None]) -> Any:
    if type(encoded) is list:
        return [_decode(item, find_class) for item in encoded]
    if type(encoded) is not dict:
        return encoded
    if TAG not in encoded:
        return {key: _decode(item, find_class) for key, item in encoded.items()}
    tag = encoded[TAG]
    if tag in _DECODERS:
        return _DECODERS[tag](encoded["v"])
    value = _decode(encoded["v"], find_class)
    if tag == "path":
        return Path(value)
    if tag in _COLLECTIONS:
        return _COLLECTIONS[tag](value)
    if tag not in ("data", "enum", "model", "named"):
        raise CodecError(f"a stored value has the unknown tag {tag!r}")
    cls = find_class(encoded["c"])
    return value if cls is None else _build(encoded, cls, value, find_class)


def _build(encoded: dict[str, Any], cls: Any, value: Any, find_class: Callable[[str], type | None]) -> Any:
    match encoded[TAG]:
        case "enum":
            return cls[encoded["n"]] if "n" in encoded else cls(value)
        case "model":
            return cls.model_validate(value)
        case "named":
            return cls._make(value)
        case _:
            # Not __init__: a field may be init=False, and __post_init__ must not run twice on one value.
            base: Any = builtin_base(cls)
            built = base.__new__(cls)
            for name, item in {**_decode(encoded.get("d", {}), find_class), **value}.items():
                object.__setattr__(built, name, item)
            return built


def builtin_base(cls: type) -> type:
    """Return the built-in type that lays out the instances of `cls`, whose `__new__` makes an empty one."""
    base: Any = cls
    while base.__module__ != "builtins":
        base = base.__base__
    return base


def class_name(cls: type) -> str:
    """Return the name under which `find_class` finds it again."""
    return cls.__qualname__ if cls.__module__ == WORKFLOW_MODULE else f"{cls.__module__}:{cls.__qualname__}"
