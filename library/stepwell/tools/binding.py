"""From the arguments of a call in Python to the arguments object of a tool."""

import json
from typing import TYPE_CHECKING

from stepwell.model import Json, JsonObject
from stepwell.ports import ToolSpec
from stepwell.tools.messages import clean, invalid
from stepwell.tools.misfits import annotation, list_misfits, shown

if TYPE_CHECKING:
    from stepwell.tools.validating import Validator


_as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def make_validator(spec: ToolSpec) -> "Validator":
    """Return the validator of the tool's arguments."""
    from stepwell.tools.validating import CheckedSchema  # noqa: PLC0415  a twentieth of the start of a server

    return CheckedSchema(spec.schema)


def signature(spec: ToolSpec) -> str:
    """Return the call as a line of Python: `fetch(url: str, max_bytes: int = 1048576) -> str`."""
    required = set(spec.schema.get("required", []))
    parameters: list[str] = []
    for name, schema in _properties(spec).items():
        text = f"{clean(name, 60)}: {clean(annotation(_followed(spec, schema)), 200)}"
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
    mistakes += _unsendable(arguments) or list_misfits(validator, arguments, names)
    if not mistakes:
        return arguments
    raise invalid(spec.name, f"{spec.name}: {shown(mistakes)}. Call it as tools.{signature(spec)}")


def _followed(spec: ToolSpec, schema: JsonObject) -> JsonObject:
    reference = schema.get("$ref")
    definitions = spec.schema.get("$defs")
    if isinstance(reference, str) and isinstance(definitions, dict):
        found = definitions.get(reference.removeprefix("#/$defs/"))
        return found if isinstance(found, dict) else schema
    return schema


def _properties(spec: ToolSpec) -> dict[str, JsonObject]:
    return spec.schema.get("properties", {})


def _unsendable(arguments: JsonObject) -> list[str]:
    mistakes: list[str] = []
    for name, value in arguments.items():
        try:
            _as_json(value).encode()
        except (TypeError, ValueError, RecursionError) as error:
            mistakes.append(f"{name} cannot be sent as JSON: {error}")
    return mistakes
