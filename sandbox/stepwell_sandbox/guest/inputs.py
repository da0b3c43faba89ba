"""JSON arguments as the types that a workflow's parameters declare."""

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

_FROM_TEXT: dict[Any, Any] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    Decimal: Decimal,
    UUID: UUID,
    Path: Path,
    PurePath: PurePath,
    bytes: str.encode,
}


def convert(value: Any, hint: Any) -> Any:
    """Return `value` as `hint`; unchanged where the hint says nothing about it.

    Raises:
        ValueError, TypeError, ArithmeticError: the value does not fit, in the words of the type's own constructor.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is None or value is None:
        return value
    if origin is typing.Annotated:
        return convert(value, args[0])
    if origin in (typing.Union, types.UnionType):
        return _first_fit(value, args)
    if origin is not None:
        return _container(value, origin, args)
    if isinstance(hint, type):
        return _instance(value, hint)
    return value


def _first_fit(value: Any, options: tuple[Any, ...]) -> Any:
    for option in options:
        if option is type(None):
            continue
        try:
            return convert(value, option)
        except (TypeError, ValueError, KeyError, ArithmeticError):
            continue
    return value


def _container(value: Any, origin: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(origin, type):
        return value
    if isinstance(value, dict) and issubclass(origin, Mapping):
        return {key: convert(item, args[1]) for key, item in value.items()} if len(args) == 2 else value
    if not isinstance(value, list):
        return value
    if issubclass(origin, tuple):
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(convert(item, args[0]) for item in value)
        return tuple(convert(item, arg) for item, arg in zip(value, args, strict=True)) if args else tuple(value)
    items = [convert(item, args[0]) for item in value] if args else value
    if issubclass(origin, AbstractSet):
        return frozenset(items) if origin is frozenset else set(items)
    return items if issubclass(origin, Sequence) else value


def _instance(value: Any, cls: type) -> Any:
    if isinstance(value, cls) and not (cls is date and isinstance(value, datetime)):
        return value
    if isinstance(value, str) and cls in _FROM_TEXT:
        return _FROM_TEXT[cls](value)
    if cls is Decimal and isinstance(value, (int, float)):
        return Decimal(str(value))
    if cls is timedelta and isinstance(value, (int, float)):
        return timedelta(seconds=value)
    if issubclass(cls, enum.Enum):
        return _member(value, cls)
    if cls is float and type(value) is int:
        return float(value)
    if isinstance(value, list):
        return _collection(value, cls)
    return _record(value, cls) if isinstance(value, dict) else value


def _collection(value: list[Any], cls: Any) -> Any:
    if cls in (set, frozenset, tuple):
        return cls(value)
    names: Any = getattr(cls, "_fields", None)
    if names is None or not issubclass(cls, tuple):
        return value
    make: Any = cls
    hints = typing.get_type_hints(cls)
    return make(*(convert(item, hints.get(name)) for item, name in zip_longest(value, names[: len(value)])))


def _member(value: Any, cls: type[enum.Enum]) -> enum.Enum:
    # Enums leave a run as their values; of these JSON has not kept the types.
    try:
        return cls(value)
    except ValueError:
        for member in cls:
            if _is_value(value, member.value):
                return member
        if isinstance(value, str) and value in cls.__members__:
            return cls[value]
        raise


def _is_value(value: Any, wanted: Any) -> bool:
    try:
        return bool(_instance(value, type(wanted)) == wanted)
    except (TypeError, ValueError, KeyError, ArithmeticError):
        return False


def _record(value: dict[str, Any], cls: Any) -> Any:
    make: Any = cls
    if dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls)
        # A record of another run has all fields; those that are no parameters are made anew.
        made = {field.name for field in dataclasses.fields(cls) if not field.init}
        return make(**{name: convert(item, hints.get(name)) for name, item in value.items() if name not in made})
    if hasattr(cls, "model_validate"):
        return cls.model_validate(value)
    if typing.is_typeddict(cls):
        hints = typing.get_type_hints(cls)
        return {name: convert(item, hints.get(name)) for name, item in value.items()}
    return value
