"""Checks of arguments against schemas that others wrote: they end, fetch nothing, and refuse only what is wrong."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from pydantic_core import SchemaError as PatternError
from pydantic_core import SchemaValidator, core_schema
from pydantic_core import ValidationError as PatternMismatch
from referencing import Registry
from referencing.exceptions import Unresolvable

from stepwell.model import Json, JsonObject

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_WORK = 50_000  # keywords looked at in one check: schemas and values can ask for more work than there is time
MAX_MISFITS = 20  # found in one check

Keyword = Callable[[Any, Any, Any, Any], Any]

_left: ContextVar[list[int]] = ContextVar("left")
"""The work that the check under way may still make."""


class Validator(Protocol):
    """The part of a jsonschema validator that is used."""

    def iter_errors(self, instance: Json) -> "Iterable[ValidationError]":
        """Yield every mismatch."""
        ...


class _TooMuchWork(Exception):
    pass


class CheckedSchema:
    """A schema that was read once and checks any number of values, in several threads at one time."""

    def __init__(self, schema: JsonObject) -> None:
        try:
            Draft202012Validator.check_schema(schema)
            kind = _Lenient if "patternProperties" in json.dumps(schema) else _Strict
            self._validator = kind(schema, registry=Registry())
            self._plain = _read_plain(schema)
        except (SchemaError, Unresolvable, RecursionError):
            # What nobody can read is left to the tool itself.
            self._validator = self._plain = None

    def iter_errors(self, instance: Json) -> "Iterable[ValidationError]":
        """Return the first mismatches; none where the schema cannot be followed, or not in the time that there is."""
        return self.find_errors(instance)[0]

    def find_errors(self, instance: Json) -> "tuple[list[ValidationError], bool]":
        """Return the first mismatches, and whether all was looked at that the time allows."""
        if self._validator is None or (self._plain is not None and self._plain.fits(instance)):
            return [], True
        found: list[ValidationError] = []
        _left.set([MAX_WORK])
        try:
            with suppress(Unresolvable, RecursionError):
                found.extend(islice(self._validator.iter_errors(instance), MAX_MISFITS))
        except _TooMuchWork:
            return found, False
        return found, True


@dataclass(frozen=True, slots=True)
class _Plain:
    """An object of texts, numbers and booleans and no other rules, as most tools take: asked first, for it is quick."""

    types: Mapping[str, frozenset[type]]
    required: frozenset[str]
    closed: bool

    def fits(self, instance: Json) -> bool:
        """Whether the instance certainly fits."""
        if type(instance) is not dict or not self.required <= instance.keys():
            return False
        known = self.types
        return all(type(value) in known[name] if name in known else not self.closed for name, value in instance.items())


def _read_plain(schema: JsonObject) -> _Plain | None:
    properties, closed = schema.get("properties", {}), schema.get("additionalProperties", True) is False
    rules = schema.keys() - _SAID
    if schema.get("type") != "object" or not rules <= _OF_OBJECTS or not isinstance(properties, dict):
        return None
    if schema.get("additionalProperties", True) not in (True, False):
        return None
    types: dict[str, frozenset[type]] = {}
    for name, each in properties.items():
        kind = each.get("type") if isinstance(each, dict) and each.keys() - _SAID == {"type"} else None
        if not isinstance(kind, str) or kind not in _TYPES:
            return None
        types[name] = _TYPES[kind]
    return _Plain(types, frozenset(schema.get("required", ())), closed)


_SAID = frozenset({"$schema", "title", "description", "default", "examples"})
_OF_OBJECTS = frozenset({"type", "properties", "required", "additionalProperties"})
_TYPES: dict[str, frozenset[type]] = {
    "string": frozenset({str}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "boolean": frozenset({bool}),
}


def _counted(follow: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        left = _left.get()
        left[0] -= 1
        if left[0] < 0:
            raise _TooMuchWork
        return follow(validator, value, instance, schema)

    return check


def _pattern(_validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and (find := _compiled(pattern)) is not None and not find(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _passed(*_: Any) -> None:
    return None


_KNOWN: Any = Draft202012Validator.VALIDATORS
# Property names by pattern, and uniqueness of long lists, can take for ever; tools judge them themselves.
_OWN: dict[str, Keyword] = {"pattern": _pattern, "patternProperties": _passed, "uniqueItems": _passed}
_Strict: Any = extend(Draft202012Validator, {name: _counted(follow) for name, follow in {**_KNOWN, **_OWN}.items()})
# These look at the patterns beside them.
_Lenient: Any = extend(_Strict, {"additionalProperties": _passed, "unevaluatedProperties": _passed})


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Callable[[str], bool] | None:
    # Rust's regular expressions take linear time; what they do not know (look-around) is the tool's to check.
    try:
        validator = SchemaValidator(core_schema.str_schema(pattern=pattern))
    except PatternError:
        return None

    def find(text: str) -> bool:
        try:
            validator.validate_python(text)
        except PatternMismatch:
            return False
        return True

    return find
