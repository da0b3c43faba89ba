"""What does not fit a schema, in words that say what to change."""

from difflib import get_close_matches
from itertools import islice
from reprlib import Repr
from typing import TYPE_CHECKING, Any, cast

from stepwell.model import Json, JsonObject
from stepwell.tools.messages import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonschema.exceptions import ValidationError

    from stepwell.tools.validating import Validator

MAX_SHOWN = 5  # in one error

_short = Repr()  # values of any size are shown
_short.maxstring = _short.maxother = 80
_PYTHON_TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
    "null": "None",
}


def list_misfits(validator: "Validator", value: Json, names: list[str] | None = None) -> list[str]:
    """Return what is wrong with a value; of arguments, `names` are those that there are."""
    return [describe_misfit(error, names) for error in validator.iter_errors(value)]


def shown(misfits: "Sequence[str]") -> str:
    """Return the first few as one text."""
    return "; ".join(misfits[:MAX_SHOWN]) + ("; and more" if len(misfits) > MAX_SHOWN else "")


def annotation(schema: JsonObject) -> str:
    """Return the type in Python's words; a schema that is built in a strange way gives `Any`."""
    options, kinds = schema.get("enum"), schema.get("type")
    if isinstance(options, list):
        return f"Literal[{', '.join(repr(option) for option in cast(list[Json], options))}]"
    named = cast(list[Json], [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else [])
    return " | ".join(_PYTHON_TYPES.get(kind, kind) for kind in named if isinstance(kind, str)) or "Any"


def describe_misfit(error: "ValidationError", names: list[str] | None = None) -> str:
    """Return what is wrong in one place."""
    path = _path(error)
    where = path or "it"
    value: Any = error.instance
    rule: Any = cast(Any, error.validator_value)  # the stubs know schemas, not the values of keywords
    match error.validator:
        case "required":
            missing = [name for name in rule if name not in value]
            return f"{path + ': ' if path else ''}{', '.join(missing)} is missing"
        case "additionalProperties" if rule is False and not path and names is not None:
            unknown = list(islice((name for name in value if name not in names), MAX_SHOWN))
            return "; ".join(_unknown(name, names) for name in unknown)
        case "type":
            wanted = annotation({"type": rule})
            return f"{where} must be {wanted}, got {type(value).__name__} {_shown(value)}"
        case "enum":
            near = get_close_matches(str(value), [str(option) for option in cast(list[Json], rule)], n=1)
            return f"{where} must be one of {_shown(rule)}, got {_shown(value)}" + _did_you_mean(near)
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            sign = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
            return f"{where} must be {sign[error.validator]} {rule}, got {_shown(value)}"
        case "maxLength" | "minLength" | "maxItems" | "minItems":
            return (
                f"{where} is too {'long' if error.validator.startswith('max') else 'short'}: {len(value)}, not {rule}"
            )
        case "pattern":
            return f"{where} must match {clean(str(rule), 200)}, got {_shown(value)}"
        case _:
            return f"{where}: {clean(error.message, 200)}"


def _path(error: "ValidationError") -> str:
    parts = [str(part) for part in error.absolute_path]
    return clean(".".join(parts), 100)


def _unknown(name: str, names: list[str]) -> str:
    return f"has no argument {clean(name, 60)!r}" + _did_you_mean(get_close_matches(name, names, n=1))


def _did_you_mean(near: list[str]) -> str:
    return f" (did you mean {near[0]!r}?)" if near else ""


def _shown(value: Json) -> str:
    return clean(_short.repr(value), 80)
