"""JSON Schemas as short as clients can use them."""

from functools import cache
from typing import Any, cast

from pydantic import BaseModel

from stepwell.model import JsonObject

# Bounds that a model would not need to know before it crosses them; the error then names them.
_UNSHOWN = frozenset({"title", "minLength", "maxLength", "maxProperties"})
_HUGE = 1_000_000


@cache
def shown_schema(model: type[BaseModel]) -> JsonObject:
    """Return the schema that clients are shown: the arguments' schema without bounds on length. Not to be changed."""
    return _trim(input_schema(model))


def _trim(node: Any) -> Any:
    if isinstance(node, list):
        return [_trim(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    found = cast("JsonObject", node)
    if "properties" in found:
        return found | {"properties": {name: _trim(of) for name, of in found["properties"].items()}}
    huge = {key for key in ("maximum",) if found.get(key, 0) >= _HUGE}
    return {key: _trim(value) for key, value in found.items() if key not in _UNSHOWN | huge}


@cache
def input_schema(model: type[BaseModel]) -> JsonObject:
    """Return the model's schema without titles, references and the null alternative of optional fields.

    Not to be changed by the caller.
    """
    schema = model.model_json_schema()
    definitions: JsonObject = schema.pop("$defs", {})
    properties: JsonObject = schema.get("properties", {})
    shown: JsonObject = {"type": "object", "properties": {k: _compact(v, definitions) for k, v in properties.items()}}
    if schema.get("required"):
        shown["required"] = schema["required"]
    shown["additionalProperties"] = False
    return shown


def _compact(node: Any, definitions: JsonObject) -> Any:
    if isinstance(node, list):
        return [_compact(item, definitions) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    found = cast("JsonObject", node)
    if reference := found.get("$ref"):
        rest = {key: value for key, value in found.items() if key != "$ref"}
        found = definitions[str(reference).removeprefix("#/$defs/")] | rest
    found = _without_null(found)
    return {
        key: _compact(value, definitions)
        for key, value in found.items()
        if key != "title" and not (key == "default" and value in (None, "", [], {}))
    }


def _without_null(node: JsonObject) -> JsonObject:
    alternatives = cast("list[JsonObject]", node.get("anyOf", []))
    others = [alternative for alternative in alternatives if alternative != {"type": "null"}]
    if len(others) == len(alternatives) or len(others) != 1:
        return node
    return {key: value for key, value in node.items() if key != "anyOf"} | others[0]
