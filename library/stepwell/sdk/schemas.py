"""JSON Schema of Python's types, for what models are to give; and whether a value has such a form."""

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

MAX_DEPTH = 12  # of types inside types: what refers to itself ends there
MAX_MISTAKES = 5
_SIMPLE: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    dict: {"type": "object"},
    list: {"type": "array"},
    set: {"type": "array"},
    tuple: {"type": "array"},
    frozenset: {"type": "array"},
    Decimal: {"type": "string"},
    UUID: {"type": "string", "format": "uuid"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    timedelta: {"type": "number", "description": "seconds"},
    bytes: {"type": "string"},
}
_KINDS: dict[str, Callable[[Any], bool]] = {
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: (isinstance(v, int) and not isinstance(v, bool)) or (isinstance(v, float) and v.is_integer()),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
}
_BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (lambda v, bound: _KINDS["number"](v) and v < bound, "at least"),
    "maximum": (lambda v, bound: _KINDS["number"](v) and v > bound, "at most"),
    "minLength": (lambda v, bound: isinstance(v, str) and len(v) < bound, "no shorter than"),
    "maxLength": (lambda v, bound: isinstance(v, str) and len(v) > bound, "no longer than"),
    "minItems": (lambda v, bound: isinstance(v, list) and len(v) < bound, "no shorter than"),
    "maxItems": (lambda v, bound: isinstance(v, list) and len(v) > bound, "no longer than"),
}


def schema_of(hint: Any, depth: int = 0) -> dict[str, Any]:
    """Return the JSON Schema of a type; `{}` for what is not known. A dict is taken for a schema."""
    if isinstance(hint, dict):
        return dict(hint)
    if hint in (Any, inspect.Parameter.empty) or depth > MAX_DEPTH:
        return {}
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        notes = [note for note in args[1:] if isinstance(note, str)]
        return schema_of(args[0], depth) | ({"description": notes[0]} if notes else {})
    if origin is typing.Literal:
        return {"enum": [value.value if isinstance(value, enum.Enum) else value for value in args]}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [schema_of(arg, depth + 1) for arg in args]}
    if origin is not None:
        return _generic(origin, args, depth)
    hint = getattr(hint, "__supertype__", hint)  # of NewType
    if hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    return _class_schema(hint, depth) if isinstance(hint, type) else {}


def _generic(origin: Any, args: tuple[Any, ...], depth: int) -> dict[str, Any]:
    if isinstance(origin, type) and issubclass(origin, tuple) and args and args[-1] is not Ellipsis:
        items = [schema_of(arg, depth + 1) for arg in args]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if isinstance(origin, type) and hasattr(origin, "items"):
        return {"type": "object", "additionalProperties": schema_of(args[-1], depth + 1) if args else {}}
    return {"type": "array", "items": schema_of(args[0], depth + 1) if args else {}}


def _class_schema(cls: Any, depth: int) -> dict[str, Any]:
    if hasattr(cls, "model_json_schema"):
        found: dict[str, Any] = cls.model_json_schema()
        return found
    if issubclass(cls, enum.Enum):
        return {"enum": [member.value for member in cls]}
    if issubclass(cls, PurePath):
        return {"type": "string"}
    if dataclasses.is_dataclass(cls):
        required = [
            field.name
            for field in dataclasses.fields(cls)
            if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        names = [field.name for field in dataclasses.fields(cls) if field.init]
        return _fields(cls, names, required, depth)
    if typing.is_typeddict(cls):
        return _fields(cls, list(cls.__annotations__), sorted(cls.__required_keys__), depth)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        # As an array: that is how the JSON of a named tuple is read back.
        hints = typing.get_type_hints(cls)
        names = list(getattr(cls, "_fields", ()))
        items = [schema_of(hints.get(name, Any), depth + 1) | {"title": name} for name in names]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    return {}


def _fields(cls: Any, names: list[str], required: list[str], depth: int) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: schema_of(hints.get(name, Any), depth + 1) for name in names},
        "required": required,
        "additionalProperties": False,
    }
    # A dataclass without a docstring gets one that is its signature.
    doc = (cls.__doc__ or "").strip()
    return schema | ({"description": doc.splitlines()[0]} if doc and not doc.startswith(f"{cls.__name__}(") else {})


def parameters_schema(fn: Callable[..., Any], skip: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of a function's arguments object without the first `skip`, and its parameters' types."""
    parameters = list(inspect.signature(fn).parameters.values())[skip:]
    try:
        hints = typing.get_type_hints(fn, include_extras=True)
    except Exception:  # noqa: BLE001  the author's hints, which may name what is not there
        hints = {}
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {p.name: schema_of(hints.get(p.name, Any)) for p in named},
        "required": [p.name for p in named if p.default is p.empty],
        "additionalProperties": any(p.kind is p.VAR_KEYWORD for p in parameters),
    }
    return schema, hints


def mistakes_in(value: Any, schema: dict[str, Any]) -> list[str]:
    """Return what is wrong with a value: types, required and unknown keys, enums, bounds; other keywords pass."""
    found: list[str] = []
    _check(value, schema, "", found, schema, 0)
    return found[:MAX_MISTAKES]


def _check(value: Any, schema: Any, where: str, found: list[str], root: dict[str, Any], depth: int) -> None:
    if not isinstance(schema, dict) or depth > 40 or len(found) >= MAX_MISTAKES:
        return
    place = where or "the value"
    if "$ref" in schema:
        _check(value, _resolve(str(schema["$ref"]), root), where, found, root, depth + 1)
        return
    options: Any = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, list) and not any(_fits(value, option, root, depth) for option in options):
        found.append(f"{place} is none of what it may be")
        return
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds or []
    if kinds and not any(_KINDS.get(kind, lambda _: True)(value) for kind in kinds):
        found.append(f"{place} must be {' or '.join(kinds)}, not {type(value).__name__}")
        return
    found += _check_itself(value, schema, place)
    if isinstance(value, dict):
        _check_object(value, schema, where, found, root, depth)
    elif isinstance(value, list):
        first: list[Any] = schema.get("prefixItems") or []
        for n, item in enumerate(value):
            _check(item, first[n] if n < len(first) else schema.get("items"), f"{where}[{n}]", found, root, depth + 1)


def _check_itself(value: Any, schema: dict[str, Any], place: str) -> list[str]:
    found: list[str] = []
    allowed: Any = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(allowed, list) and value not in allowed:
        found.append(f"{place} must be one of {allowed!r}, not {value!r}"[:300])
    for keyword, (crossed, words) in _BOUNDS.items():
        if keyword in schema and crossed(value, schema[keyword]):
            found.append(f"{place} must be {words} {schema[keyword]}")
    return found


def _check_object(
    value: dict[str, Any], schema: dict[str, Any], where: str, found: list[str], root: dict[str, Any], depth: int
) -> None:
    properties: dict[str, Any] = schema.get("properties") or {}
    others: Any = schema.get("additionalProperties", True)
    found += [
        f"{where + ': ' if where else ''}{name} is missing" for name in schema.get("required", []) if name not in value
    ]
    for name, item in value.items():
        path = f"{where}.{name}" if where else name
        if name in properties:
            _check(item, properties[name], path, found, root, depth + 1)
        elif others is False:
            found.append(f"{path} is not known")
        else:
            _check(item, others, path, found, root, depth + 1)


def _fits(value: Any, schema: Any, root: dict[str, Any], depth: int) -> bool:
    found: list[str] = []
    _check(value, schema, "", found, root, depth + 1)
    return not found


def _resolve(ref: str, root: dict[str, Any]) -> Any:
    found: Any = root
    for part in ref.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found
