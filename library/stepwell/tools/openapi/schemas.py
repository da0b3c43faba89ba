"""References and schemas of an OpenAPI document, as JSON Schema of their own."""

import json

from stepwell.model import Json, JsonObject
from stepwell.tools.messages import clean

MAX_DEFINITIONS = 200  # schemas that one operation may refer to
MAX_SCHEMA_BYTES = 64 * 1024
MAX_DEPTH = 40
MAX_PARTS = 50_000  # looked at for one operation: aliases of YAML may stand for more than there is room for

# OpenAPI's own words, which say nothing of a value.
_LEFT_OUT = ("xml", "example", "discriminator", "externalDocs")


def resolved(document: JsonObject, value: Json) -> JsonObject:
    """Return what a reference leads to, or the value itself; an empty object where there is none."""
    for _ in range(MAX_DEPTH):
        if not isinstance(value, dict):
            return {}
        reference = value.get("$ref")
        if not isinstance(reference, str):
            return value
        value = _look_up(document, reference)
    return {}


def described(schema: JsonObject, around: JsonObject) -> JsonObject:
    """Return the schema with the description that stands beside it."""
    said = around.get("description")
    if isinstance(said, str) and "$ref" not in schema and "description" not in schema:
        return schema | {"description": clean(said, 500)}
    return schema


def with_definitions(document: JsonObject, schema: JsonObject) -> JsonObject:
    """Return the schema with what it refers to inside; one that is too large checks nothing of the large part."""
    made = _Rewriting(document)
    whole = made.rewritten(schema, 0)
    if made.definitions:
        whole["$defs"] = made.definitions
    if len(json.dumps(whole)) > MAX_SCHEMA_BYTES:
        shown = {name: {"description": "see the service's documentation"} for name in schema["properties"]}
        return {"type": "object", "properties": shown, "required": schema["required"]}
    return whole | {"additionalProperties": False}


class _Rewriting:
    """The schemas that one schema refers to, under names of their own."""

    def __init__(self, document: JsonObject) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self._left = MAX_PARTS
        self.definitions: JsonObject = {}

    def rewritten(self, value: Json, depth: int) -> Json:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            return {}
        if isinstance(value, list):
            return [self.rewritten(item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str):
            return self._referred(reference, depth)
        return _of_2020({key: self.rewritten(item, depth + 1) for key, item in value.items()})

    def _referred(self, reference: str, depth: int) -> JsonObject:
        name = self._names.get(reference)
        if name is None:
            if len(self._names) >= MAX_DEFINITIONS:
                return {}
            name = reference.rpartition("/")[2]
            if name in self.definitions:  # of another part of the document
                name = f"{name}_{len(self._names)}"
            self._names[reference] = name
            self.definitions[name] = {}  # known from here on: schemas refer to themselves
            found = _look_up(self._document, reference)
            self.definitions[name] = self.rewritten(found if isinstance(found, dict) else {}, depth + 1)
        return {"$ref": f"#/$defs/{name}"}


def _look_up(document: JsonObject, reference: str) -> Json:
    found: Json = document
    if not reference.startswith("#/"):
        return None
    for part in reference[2:].split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found


def _of_2020(schema: JsonObject) -> JsonObject:
    # OpenAPI 3.0 has its own words for some of what JSON Schema says.
    if schema.pop("nullable", False) is True and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    for word, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(word), bool) and schema.pop(word) and bound in schema:
            schema[word] = schema.pop(bound)
    return {key: item for key, item in schema.items() if key not in _LEFT_OUT}
