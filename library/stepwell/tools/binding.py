"""From the arguments of a call in Python to the arguments object of a tool."""

import json
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

from stepwell.model import Json, JsonObject
from stepwell.ports import ToolSpec
from stepwell.tools.messages import clean, invalid

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

    from stepwell.tools.validating import Validator

MAX_MISTAKES = 5  # named in one error

_PYTHON_TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
    "null": "None",
}


def make_validator(spec: ToolSpec) -> "Validator":
    """Return the validator of the tool's arguments."""
    from stepwell.tools.validating import CheckedSchema  # noqa: PLC0415  a twentieth of the start of a server

    return CheckedSchema(spec.schema)


def signature(spec: ToolSpec) -> str:
    """Return the call as a line of Python: `fetch(url: str, max_bytes: int = 1048576) -> str`."""
    required = set(spec.schema.get("required", []))
    parameters: list[str] = []
    for name, schema in _properties(spec).items():
        text = f"{clean(name, 60)}: {clean(_annotation(_followed(spec, schema)), 200)}"
        if name not in required:
            text += f" = {clean(repr(schema['default']), 80)}" if "default" in schema else " = ..."
        parameters.append(text)
    return f"{spec.name}({', '.join(parameters)}) -> {spec.returns}"


def bind_arguments(spec: ToolSpec, validator: "Validator", args: list[Json], kwargs: JsonObject) -> JsonObject:
    """Return the arguments object; positional ones follow the order of the schema's properties.

    Raises:
        ToolFailure: code `invalid_arguments`; names up to five mistakes and the signature.
    """
    names = list(_properties(spec))
    mistakes: list[str] = []
    if len(args) > len(names):
        mistakes.append(f"takes at most {len(names)} arguments, got {len(args)} positional ones")
    arguments: JsonObject = dict(zip(names, args, strict=False))
    mistakes += [f"{name} is given twice, by position and by name" for name in kwargs if name in arguments]
    arguments |= kwargs
    mistakes += _unsendable(arguments) or [_mistake(error, names) for error in validator.iter_errors(arguments)]
    if not mistakes:
        return arguments
    shown = "; ".join(mistakes[:MAX_MISTAKES])
    more = f"; and {len(mistakes) - MAX_MISTAKES} more" if len(mistakes) > MAX_MISTAKES else ""
    raise invalid(spec.name, f"{spec.name}: {shown}{more}. Call it as tools.{signature(spec)}")


def _followed(spec: ToolSpec, schema: JsonObject) -> JsonObject:
    reference = schema.get("$ref")
    definitions = spec.schema.get("$defs")
    if isinstance(reference, str) and isinstance(definitions, dict):
        found = definitions.get(reference.removeprefix("#/$defs/"))
        return found if isinstance(found, dict) else schema
    return schema


def _properties(spec: ToolSpec) -> dict[str, JsonObject]:
    return spec.schema.get("properties", {})


def _annotation(schema: JsonObject) -> str:
    if "enum" in schema:
        return f"Literal[{', '.join(repr(value) for value in schema['enum'])}]"
    kinds = schema.get("type")
    named: list[str] = [kinds] if isinstance(kinds, str) else kinds or []
    return " | ".join(_PYTHON_TYPES.get(kind, kind) for kind in named) or "Any"


def _unsendable(arguments: JsonObject) -> list[str]:
    mistakes: list[str] = []
    for name, value in arguments.items():
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            mistakes.append(f"{name} cannot be sent as JSON: {error}")
    return mistakes


def _mistake(error: "ValidationError", names: list[str]) -> str:
    path = _path(error)
    value: Any = error.instance
    rule: Any = cast(Any, error.validator_value)  # the stubs know schemas, not the values of keywords
    match error.validator:
        case "required":
            missing = [name for name in rule if name not in value]
            return f"{path + ': ' if path else ''}{', '.join(missing)} is missing"
        case "additionalProperties" if rule is False and not path:
            unknown = [name for name in value if name not in names]
            return "; ".join(_unknown(name, names) for name in unknown)
        case "type":
            wanted = _annotation({"type": rule})
            return f"{path} must be {wanted}, got {type(value).__name__} {_shown(value)}"
        case "enum":
            near = get_close_matches(str(value), [str(option) for option in cast(list[Json], rule)], n=1)
            return f"{path} must be one of {_shown(rule)}, got {_shown(value)}" + _did_you_mean(near)
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            sign = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
            return f"{path} must be {sign[error.validator]} {rule}, got {_shown(value)}"
        case "maxLength" | "minLength" | "maxItems" | "minItems":
            return f"{path} is too {'long' if error.validator.startswith('max') else 'short'}: {len(value)}, not {rule}"
        case "pattern":
            return f"{path} must match {clean(str(rule), 200)}, got {_shown(value)}"
        case _:
            return f"{path}: {clean(error.message, 200)}"


def _path(error: "ValidationError") -> str:
    parts = [str(part) for part in error.absolute_path]
    return clean(".".join(parts), 100)


def _unknown(name: str, names: list[str]) -> str:
    return f"has no argument {clean(name, 60)!r}" + _did_you_mean(get_close_matches(name, names, n=1))


def _did_you_mean(near: list[str]) -> str:
    return f" (did you mean {near[0]!r}?)" if near else ""


def _shown(value: Json) -> str:
    return clean(repr(value), 80)
