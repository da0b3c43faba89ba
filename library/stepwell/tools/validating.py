"""Checks of arguments against schemas that others wrote: they end, fetch nothing, and refuse only what is wrong."""

from collections.abc import Callable, Iterator
from functools import lru_cache
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

MAX_REFS = 20_000  # followed in one check: schemas of references can ask for more work than there is time

Keyword = Callable[[Any, Any, Any, Any], Any]


class Validator(Protocol):
    """The part of a jsonschema validator that is used."""

    def iter_errors(self, instance: Json) -> "Iterable[ValidationError]":
        """Yield every mismatch."""
        ...


class _TooMuchWork(Exception):
    pass


class CheckedSchema:
    """A schema that was read once and checks any number of values."""

    def __init__(self, schema: JsonObject) -> None:
        self._followed = 0
        try:
            Draft202012Validator.check_schema(schema)
            self._validator = _extended(self._count)(schema, registry=Registry())
        except (SchemaError, Unresolvable, RecursionError):
            # What nobody can read is left to the tool itself.
            self._validator = None

    def iter_errors(self, instance: Json) -> "Iterable[ValidationError]":
        """Return the mismatches; none where the schema itself cannot be followed."""
        if self._validator is None:
            return []
        self._followed = 0
        try:
            return list(self._validator.iter_errors(instance))
        except (Unresolvable, RecursionError, _TooMuchWork):
            return []

    def _count(self) -> None:
        self._followed += 1
        if self._followed > MAX_REFS:
            raise _TooMuchWork


def _extended(count: Callable[[], None]) -> Any:
    known: Any = Draft202012Validator.VALIDATORS

    def counted(keyword: str) -> Keyword:
        follow: Keyword = known[keyword]

        def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
            count()
            yield from follow(validator, value, instance, schema) or ()

        return check

    own = {"$ref": counted("$ref"), "$dynamicRef": counted("$dynamicRef"), "pattern": _pattern}
    # Property names by pattern, and uniqueness of long lists, can take for ever; tools judge them themselves.
    return extend(Draft202012Validator, own | {"patternProperties": _passed, "uniqueItems": _passed})


def _pattern(_validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and (find := _compiled(pattern)) is not None and not find(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _passed(*_: Any) -> None:
    return None


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
