"""References and schemas of an OpenAPI document, as JSON Schema of their own."""

import json
from urllib.parse import unquote

from stepwell.model import Json, JsonObject
from stepwell.tools.messages import clean

MAX_DEFINITIONS = 200  # schemas that one operation may refer to
MAX_SCHEMA_BYTES = 64 * 1024
MAX_DEPTH = 40
MAX_DIGITS = 9  # of an index in a reference

# OpenAPI's own words, which say nothing of a value.
_LEFT_OUT = ("xml", "example", "discriminator", "externalDocs")
# Their keys are names that the service has chosen, not words.
_OF_NAMES = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_OF_VALUES = ("default", "const", "enum", "examples")


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
    if made.is_full or len(json.dumps(whole)) > MAX_SCHEMA_BYTES:
        shown = {name: {"description": "see the service's documentation"} for name in schema["properties"]}
        return {"type": "object", "properties": shown, "required": schema["required"]}
    return whole | {"additionalProperties": False}


class _Rewriting:
    """The schemas that one schema refers to, under names of their own."""

    def __init__(self, document: JsonObject) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self._left = MAX_SCHEMA_BYTES
        self.definitions: JsonObject = {}

    @property
    def is_full(self) -> bool:
        """Whether it was given up, since the schema is too large."""
        return self._left < 0

    def rewritten(self, value: Json, depth: int, *, names: bool = False) -> Json:
        """Return a schema, or with `names` the schemas of an object by name."""
        self._left -= len(value) if isinstance(value, str) else 1
        if depth > MAX_DEPTH or self._left < 0:
            return {}
        if isinstance(value, list):
            return [self.rewritten(item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if names:
            return {key: self.rewritten(item, depth + 1) for key, item in value.items() if self._counts(key)}
        reference = value.get("$ref")
        if isinstance(reference, str):
            return self._referred(reference, depth)
        found: JsonObject = {}
        for key, item in value.items():
            if key in _LEFT_OUT or not self._counts(key):
                continue
            if key in _OF_VALUES:
                found[key] = self._copied(item, depth + 1)
            else:
                found[key] = self.rewritten(item, depth + 1, names=key in _OF_NAMES)
        return _of_2020(found)

    def _copied(self, value: Json, depth: int) -> Json:
        self._left -= len(value) if isinstance(value, str) else 1
        if depth > MAX_DEPTH or self._left < 0:
            return None
        if isinstance(value, list):
            return [self._copied(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {key: self._copied(item, depth + 1) for key, item in value.items() if self._counts(key)}
        return value

    def _counts(self, key: Json) -> bool:
        self._left -= len(key) if isinstance(key, str) else 1  # in YAML `200` is a number
        return self._left >= 0

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
    for part in unquote(reference[2:]).split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        number = int(key) if key.isascii() and key.isdigit() and len(key) < MAX_DIGITS else -1
        if isinstance(found, dict):
            found = found[key] if key in found else found.get(number)
        else:
            found = found[number] if isinstance(found, list) and 0 <= number < len(found) else None
    return found


def _of_2020(schema: JsonObject) -> JsonObject:
    # OpenAPI 3.0 has its own words for some of what JSON Schema says.
    if schema.pop("nullable", False) is True and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    for word, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(word), bool) and schema.pop(word) and bound in schema:
            schema[word] = schema.pop(bound)
    return schema
