"""Arguments against a version's schema, with problems in words that a caller can act on."""

import json
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from jsonschema import Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import ValidationError

from stepwell.catalog.names import near_names
from stepwell.errors import InvalidArguments
from stepwell.model import Json, JsonObject, Version

MAX_BYTES = 1024 * 1024  # of JSON
MAX_DEPTH = 64  # nested lists and objects
MAX_PROBLEMS = 20  # listed in one error

# References and unions tried: a union that refers to itself twice makes them exponential in the depth.
_CHECKS = 5_000
_CHECKS_PER_VALUE = 20
_MAX_NUMBER_BITS = 1024
_SHOWN_VALUE = 60  # characters

_checks_left: ContextVar[list[int]] = ContextVar("_checks_left")
_formats = FormatChecker(formats=())


class _TooManyChecks(Exception):
    pass


def check_arguments(version: Version, arguments: JsonObject) -> JsonObject:
    """Return a copy of the arguments if they fit the version's schema; defaults are not filled in.

    Raises:
        InvalidArguments: naming every problem; the hint shows the signature.
    """
    copied, values = _copied(version, arguments)
    validator = _Validator(version.schema, format_checker=_formats)
    _checks_left.set([_CHECKS + _CHECKS_PER_VALUE * values])
    problems: list[str] = []
    try:
        for error in cast("Iterator[ValidationError]", validator.iter_errors(copied)):  # pyright: ignore[reportUnknownMemberType]
            problems += _described(error, version.schema)
            if len(problems) > MAX_PROBLEMS:
                problems[MAX_PROBLEMS:] = ["and more"]
                break
    except (_TooManyChecks, RecursionError) as error:
        raise _refused(version, "the arguments are too deeply nested for the types they must fit") from error
    if problems:
        raise _refused(version, "; ".join(problems))
    return copied


def _refused(version: Version, problem: str) -> InvalidArguments:
    return InvalidArguments(f"The arguments do not fit: {problem}.", hint=f"Call it as {version.signature}")


def _copied(version: Version, arguments: object) -> tuple[JsonObject, int]:
    if not isinstance(arguments, dict):
        raise _refused(version, f"they must be an object of named values, not {_json_type(arguments)}")
    given = cast("JsonObject", arguments)
    values, problem = _measured(given)
    if problem:
        raise _refused(version, problem)
    try:
        text = json.dumps(given, ensure_ascii=False)
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise _refused(version, "a text holds half of a surrogate pair") from error
    if size > MAX_BYTES:
        raise _refused(
            version,
            f"they have {size:,} bytes of JSON, at most {MAX_BYTES:,} are accepted: pass large data as an artifact",
        )
    return cast("JsonObject", json.loads(text)), values


def _measured(arguments: JsonObject) -> tuple[int, str]:
    # How many values there are, and what JSON cannot hold. A stack of its own: what is nested too deeply
    # to be checked must not be walked by recursion.
    waiting: list[tuple[object, object, int]] = [(name, value, 1) for name, value in arguments.items()]
    values = 0
    while waiting:
        name, value, depth = waiting.pop()
        values += 1
        if not isinstance(name, str):
            return values, f"the name {_shown(name)} is no string"
        shown = name[:_SHOWN_VALUE]
        if depth > MAX_DEPTH:
            return values, f"{shown}: nested more than {MAX_DEPTH} levels deep"
        if values > MAX_BYTES:
            return values, f"{shown}: more than a million values, pass them as an artifact"
        if isinstance(value, dict):
            waiting += [(key, item, depth + 1) for key, item in cast("dict[object, object]", value).items()]
        elif isinstance(value, list | tuple):
            waiting += [(name, item, depth + 1) for item in cast("list[object]", value)]
        elif (problem := _no_json(value)) is not None:
            return values, f"{shown}: {problem}"
    return values, ""


def _no_json(value: object) -> str | None:
    if value is None or isinstance(value, str | bool):
        return None
    if isinstance(value, int):
        return "a number of more than 300 digits" if value.bit_length() > _MAX_NUMBER_BITS else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is no JSON number"
    return f"{type(value).__name__} is no JSON: pass a string, for example in ISO form"


def _described(error: ValidationError, schema: JsonObject) -> Iterator[str]:
    path = _path(list(error.absolute_path))
    keyword = str(cast("object", error.validator))  # pyright: ignore[reportUnknownMemberType]
    value = cast("Json", error.instance)
    own = cast("JsonObject", error.schema)
    if keyword == "required":
        for name in own["required"]:
            if name not in value:
                yield f"{_join(path, name)}: missing ({describe(own['properties'].get(name, {}), schema)}, required)"
    elif keyword == "additionalProperties":
        known = list(own.get("properties", {}))
        for name in [name for name in value if name not in known][:MAX_PROBLEMS]:
            near = near_names(name, known)
            advice = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known[:20]) or 'none'}"
            yield f"{_join(path, name[:_SHOWN_VALUE])}: unknown, {advice}"
    elif keyword == "anyOf" and (meant := _meant(error)):
        for inner in meant:
            yield from _described(inner, schema)
    elif keyword in {"type", "enum", "anyOf"}:
        yield f"{path}: {_shown(value)} is no {describe(own, schema)}"
    elif keyword == "format":
        yield f"{path}: {_shown(value)} is no {own['format']}"
    else:
        yield f"{path}: {_shown(value)} breaks {keyword} {_shown(own.get(keyword))}"


def _meant(error: ValidationError) -> list[ValidationError]:
    # The problems with the one choice that is of the value's type, if there is one: better than "fits none".
    choices: dict[object, list[ValidationError]] = {}
    for inner in error.context or ():
        choices.setdefault(inner.relative_schema_path[0], []).append(inner)
    meant = [
        problems
        for problems in choices.values()
        if not any(inner.validator in {"type", "enum"} and not inner.relative_path for inner in problems)
    ]
    return meant[0] if len(meant) == 1 else []


def describe(schema: JsonObject, root: JsonObject, level: int = 0) -> str:
    """Return a schema in words: `string`, `list of integer or null`, `one of 'a', 'b'`."""
    if level > 3:
        return "value"
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        target = root.get("$defs", {}).get(name, {})
        return name if level and "enum" not in target else describe(target, root, level + 1)
    if "enum" in schema:
        return "one of " + ", ".join(_shown(item) for item in schema["enum"][:10])
    if "anyOf" in schema:
        return " or ".join(describe(item, root, level + 1) for item in schema["anyOf"][:6])
    kind = schema.get("type", "value")
    if isinstance(kind, list):
        kind = " or ".join(cast("list[str]", kind))
    if kind == "array":
        return f"list of {describe(schema['items'], root, level + 1)}" if schema.get("items") else "list"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _path(parts: list[str | int]) -> str:
    path = ""
    for part in parts[:12]:
        path = f"{path}[{part}]" if isinstance(part, int) else _join(path, part[:_SHOWN_VALUE])
    return path


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return f"{_json_type(cast('object', value))} of {len(cast('list[object]', value))}"
    text = repr(value[: _SHOWN_VALUE + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN_VALUE else text[:_SHOWN_VALUE] + "..."


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    return {"dict": "an object", "list": "a list", "str": "text"}.get(type(value).__name__, type(value).__name__)


def _counted(keyword: str) -> Callable[..., Iterator[ValidationError]]:
    check = Draft202012Validator.VALIDATORS[keyword]

    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        left = _checks_left.get()
        left[0] -= 1
        if left[0] < 0:
            raise _TooManyChecks
        yield from check(validator, value, instance, schema) or ()

    return counted


# A list of a hundred thousand numbers counts as one check, a step through a reference or a union as one each.
_Validator: Any = validators.extend(  # pyright: ignore[reportUnknownMemberType]
    Draft202012Validator, {keyword: _counted(keyword) for keyword in ("$ref", "anyOf")}
)


def _check_format(name: str, parse: Callable[[str], object]) -> None:
    def fits(value: object) -> bool:
        if isinstance(value, str):
            parse(value)
        return True

    _formats.checks(name, raises=(ValueError, ArithmeticError))(fits)  # pyright: ignore[reportUnknownMemberType]


_check_format("date-time", datetime.fromisoformat)
_check_format("date", date.fromisoformat)
_check_format("time", time.fromisoformat)
_check_format("uuid", UUID)
_check_format("decimal", Decimal)
