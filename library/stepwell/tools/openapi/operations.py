"""From an OpenAPI document (3.0 or 3.1) to operations with schemas of their own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from stepwell.model import Json, JsonObject
from stepwell.tools.messages import clean
from stepwell.tools.sources import make_identifier

MAX_OPERATIONS = 5000
MAX_DEFINITIONS = 200  # schemas that one operation may refer to
MAX_SCHEMA_BYTES = 64 * 1024
MAX_DEPTH = 40
METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
BODY = "body"
Place = Literal["path", "query", "header", "cookie"]


class BadDocument(Exception):
    """The document cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument that goes into the URL or the headers."""

    argument: str
    name: str
    """As the service knows it."""
    place: Place
    explode: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    name: str
    method: str
    path: str
    description: str
    parameters: tuple[Parameter, ...]
    body: Literal["", "json", "form", "text"]
    schema: JsonObject
    returns: str


def read_operations(document: JsonObject) -> list[Operation]:
    """Return the operations by name; one that cannot be read is left out.

    Raises:
        BadDocument: it is no OpenAPI 3 document.
    """
    version = document.get("openapi")
    paths = document.get("paths")
    if not isinstance(version, str) or not version.startswith("3.") or not isinstance(paths, dict):
        raise BadDocument(
            "it is no OpenAPI 3 document" + (": Swagger 2 is not supported" if "swagger" in document else "")
        )
    found: list[Operation] = []
    taken: set[str] = set()
    for path, item in cast(Mapping[str, Json], paths).items():
        shared = _resolved(document, item)
        for method in METHODS:
            if isinstance(operation := shared.get(method), dict) and len(found) < MAX_OPERATIONS:
                made = _read(document, path, method, operation, shared, taken)
                taken.add(made.name)
                found.append(made)
    return found


def find_base(document: JsonObject) -> str:
    """Return the first server's address as the document has it; empty if it names none."""
    servers = document.get("servers")
    if not isinstance(servers, list) or not servers or not isinstance(servers[0], dict):
        return ""
    url = str(servers[0].get("url") or "")
    for name, variable in (servers[0].get("variables") or {}).items():
        url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
    return url


def _read(
    document: JsonObject, path: str, method: str, operation: JsonObject, shared: JsonObject, taken: set[str]
) -> Operation:
    named = operation.get("operationId") or f"{method}_{path.strip('/').replace('{', '').replace('}', '')}"
    properties: JsonObject = {}
    required: list[str] = []
    parameters: list[Parameter] = []
    known: dict[tuple[str, str], JsonObject] = {}
    for given in [*(shared.get("parameters") or []), *(operation.get("parameters") or [])]:
        parameter = _resolved(document, given)
        known[(str(parameter.get("name")), str(parameter.get("in")))] = parameter  # the operation's own count
    for (name, place), parameter in known.items():
        if place not in ("path", "query", "header") or (place == "header" and name.lower() in _SET_ELSEWHERE):
            continue
        argument = make_identifier(name, {*properties, BODY}, ())
        properties[argument] = _described(parameter.get("schema") or {"type": "string"}, parameter)
        if parameter.get("required") is True or place == "path":
            required.append(argument)
        explode = parameter.get("explode")
        parameters.append(Parameter(argument, name, place, place == "query" if explode is None else explode is True))
    body, schema, needed = _body(document, operation)
    if body:
        properties[BODY] = schema
        required += [BODY] if needed else []
    said = clean(str(operation.get("description") or operation.get("summary") or f"{method.upper()} {path}"), 2000)
    return Operation(
        make_identifier(str(named), taken),
        method.upper(),
        path,
        said,
        tuple(parameters),
        body,
        _with_definitions(document, {"type": "object", "properties": properties, "required": required}),
        _returns(document, operation),
    )


_SET_ELSEWHERE = {"authorization", "accept", "content-type"}  # by configuration, or by the call itself


def _body(document: JsonObject, operation: JsonObject) -> tuple[Literal["", "json", "form", "text"], JsonObject, bool]:
    if "requestBody" not in operation:
        return "", {}, False
    body = _resolved(document, operation["requestBody"])
    content: JsonObject = body.get("content") or {}
    kinds: tuple[tuple[str, Literal["json", "form", "text"]], ...] = (
        ("application/json", "json"), ("application/x-www-form-urlencoded", "form"), ("text/plain", "text"),
    )  # fmt: skip
    for media, kind in kinds:
        if media in content:
            schema = _described(content[media].get("schema") or {}, body)
            return kind, schema, body.get("required") is True
    json_like = next((media for media in content if media.endswith("+json")), None)
    if json_like is not None:
        return "json", _described(content[json_like].get("schema") or {}, body), body.get("required") is True
    return "text", {"type": "string"}, body.get("required") is True


def _described(schema: JsonObject, around: JsonObject) -> JsonObject:
    said = around.get("description")
    if isinstance(said, str) and "$ref" not in schema and "description" not in schema:
        return schema | {"description": clean(said, 500)}
    return schema


def _returns(document: JsonObject, operation: JsonObject) -> str:
    for status, answer in (operation.get("responses") or {}).items():
        if str(status).startswith("2"):
            content: JsonObject = _resolved(document, answer).get("content") or {}
            schema: JsonObject = next(
                (each.get("schema") or {} for each in content.values() if isinstance(each, dict)), {}
            )
            schema = _resolved(document, schema)
            return {"object": "dict", "array": "list", "string": "str", "integer": "int"}.get(
                str(schema.get("type")), "Any"
            )
    return "Any"


def _resolved(document: JsonObject, value: Json) -> JsonObject:
    for _ in range(MAX_DEPTH):
        if not isinstance(value, dict):
            return {}
        reference = value.get("$ref")
        if not isinstance(reference, str):
            return value
        value = _look_up(document, reference)
    return {}


def _look_up(document: JsonObject, reference: str) -> Json:
    found: Json = document
    if not reference.startswith("#/"):
        return None
    for part in reference[2:].split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found


def _with_definitions(document: JsonObject, schema: JsonObject) -> JsonObject:
    """Return the schema with what it refers to inside; one that is too large checks nothing of the large part."""
    definitions: JsonObject = {}
    made = _rewritten(document, schema, definitions, 0)
    if definitions:
        made["$defs"] = definitions
    if len(json.dumps(made)) > MAX_SCHEMA_BYTES:
        shown = {name: {"description": "see the service's documentation"} for name in schema["properties"]}
        return {"type": "object", "properties": shown, "required": schema["required"]}
    return made | {"additionalProperties": False}


def _rewritten(document: JsonObject, value: Json, definitions: JsonObject, depth: int) -> Json:
    if depth > MAX_DEPTH:
        return {}
    if isinstance(value, list):
        return [_rewritten(document, item, definitions, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if name not in definitions:
            if len(definitions) >= MAX_DEFINITIONS:
                return {}
            definitions[name] = {}  # known from here on: schemas refer to themselves
            found = _look_up(document, reference)
            definitions[name] = _rewritten(document, found if isinstance(found, dict) else {}, definitions, depth + 1)
        return {"$ref": f"#/$defs/{name}"}
    return _of_2020({key: _rewritten(document, item, definitions, depth + 1) for key, item in value.items()})


def _of_2020(schema: JsonObject) -> JsonObject:
    # OpenAPI 3.0 has its own words for some of what JSON Schema says.
    if schema.pop("nullable", False) is True and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        if isinstance(schema.get(bound), bool):
            del schema[bound]
    return {key: item for key, item in schema.items() if key not in ("xml", "example", "discriminator", "externalDocs")}
