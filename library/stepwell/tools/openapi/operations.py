"""From an OpenAPI document (3.0 or 3.1) to operations with schemas of their own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from stepwell.model import Json, JsonObject
from stepwell.tools.messages import clean
from stepwell.tools.openapi.contents import Content, read_content
from stepwell.tools.openapi.schemas import described, resolved, with_definitions
from stepwell.tools.openapi.security import Needs, Scheme, read_needs, read_schemes
from stepwell.tools.openapi.styles import Parameter, read_style
from stepwell.tools.sources import make_identifier

MAX_OPERATIONS = 5000
MAX_PARAMETERS = 500  # of one operation
METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
BODY = "body"
_SET_ELSEWHERE = {"authorization", "accept", "content-type"}  # by configuration, or by the call itself
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_MALFORMED = (AttributeError, TypeError, KeyError, RecursionError)


class BadDocument(Exception):
    """The document cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    name: str
    method: str
    path: str
    description: str
    parameters: tuple[Parameter, ...]
    content: Content | None
    needs: Needs
    base: str
    """Where it is, if it is elsewhere than the others."""
    schema: JsonObject
    returns: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An operation that is no tool, and why."""

    path: str
    method: str
    reason: str


@dataclass(frozen=True, slots=True)
class Operations:
    """What a document describes."""

    base: str
    """The first server's address as the document has it; empty if it names none."""
    schemes: Mapping[str, Scheme | str]
    found: list[Operation]
    left_out: list[LeftOut]


def read_operations(document: JsonObject, *, identified: bool = False) -> Operations:
    """Return the operations by name, and those that cannot be called from here.

    `identified` says that the operator gives headers, which may say who calls in any way.

    Raises:
        BadDocument: it is no OpenAPI 3 document.
    """
    version = document.get("openapi")
    paths = document.get("paths")
    if not isinstance(version, str) or not version.startswith("3.") or not isinstance(paths, dict):
        raise BadDocument(
            "it is no OpenAPI 3 document" + (": Swagger 2 is not supported" if "swagger" in document else "")
        )
    made = Operations(_find_base(document), read_schemes(document), [], [])
    taken: set[str] = set()
    for path, item in cast(Mapping[str, Json], paths).items():
        shared = resolved(document, item)
        for method in METHODS:
            if method not in shared or len(made.found) >= MAX_OPERATIONS:
                continue
            try:
                operation = _read(document, None if identified else made.schemes, path, method, shared, taken)
            except ValueError as error:
                made.left_out.append(LeftOut(path, method, str(error)))
            except _MALFORMED as error:
                made.left_out.append(LeftOut(path, method, f"it is built in a way that cannot be read: {error}"))
            else:
                taken.add(operation.name)
                made.found.append(operation)
    return made


def _find_base(holder: JsonObject) -> str:
    servers = holder.get("servers")
    if not isinstance(servers, list) or not servers or not isinstance(servers[0], dict):
        return ""
    url = str(servers[0].get("url") or "")
    for name, variable in (servers[0].get("variables") or {}).items():
        url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
    return url


def _read(
    document: JsonObject,
    schemes: Mapping[str, Scheme | str] | None,
    path: str,
    method: str,
    shared: JsonObject,
    taken: set[str],
) -> Operation:
    operation: JsonObject = shared[method]
    named = operation.get("operationId") or f"{method}_{path.strip('/').replace('{', '').replace('}', '')}"
    properties: JsonObject = {}
    required: list[str] = []
    parameters: list[Parameter] = []
    described_ones = _parameters(document, operation, shared)
    if len(described_ones) > MAX_PARAMETERS:
        raise ValueError(f"it has more than {MAX_PARAMETERS} parameters")
    for given in described_ones:
        name, place = str(given["name"]), str(given["in"])
        argument = make_identifier(name, {*properties, BODY}, ())
        style, explode = read_style(given, place)
        properties[argument] = described(_schema(given), given)
        if given.get("required") is True or place == "path":
            required.append(argument)
        reserved = given.get("allowReserved") is True
        parameters.append(Parameter(argument, name, given["in"], style, explode, reserved))
    undescribed = set(_PLACEHOLDER.findall(path)) - {each.name for each in parameters if each.place == "path"}
    if undescribed:
        raise ValueError(f"its path has {{{min(undescribed)}}}, which no parameter describes")
    body = read_content(document, operation)
    if body is not None:
        properties[BODY] = body[1]
        required += [BODY] if body[0].required else []
    said = clean(str(operation.get("description") or operation.get("summary") or f"{method.upper()} {path}"), 2000)
    return Operation(
        make_identifier(str(named), taken),
        method.upper(),
        path,
        said,
        tuple(parameters),
        body[0] if body else None,
        read_needs(document, operation, schemes),
        _find_base(operation) or _find_base(shared),
        with_definitions(document, {"type": "object", "properties": properties, "required": required}),
        _returns(document, operation),
    )


def _parameters(document: JsonObject, operation: JsonObject, shared: JsonObject) -> list[JsonObject]:
    known: dict[tuple[str, str], JsonObject] = {}
    for given in [*(shared.get("parameters") or []), *(operation.get("parameters") or [])]:
        parameter = resolved(document, given)
        if not isinstance(parameter.get("name"), str) or not isinstance(parameter.get("in"), str):
            if parameter or not isinstance(given, dict) or "$ref" not in given:
                raise ValueError("a parameter has no name or no place")
            continue  # a reference to nothing
        known[(parameter["name"], parameter["in"])] = parameter  # the operation's own count
    return [p for (name, place), p in known.items() if place != "header" or name.lower() not in _SET_ELSEWHERE]


def _schema(parameter: JsonObject) -> JsonObject:
    if "schema" in parameter:
        return parameter["schema"]
    content: JsonObject = parameter.get("content") or {}
    return next((each.get("schema") or {} for each in content.values()), {"type": "string"})


def _returns(document: JsonObject, operation: JsonObject) -> str:
    for status, answer in (operation.get("responses") or {}).items():
        if str(status).startswith("2"):
            content: JsonObject = resolved(document, answer).get("content") or {}
            schema: JsonObject = next(
                (each.get("schema") or {} for each in content.values() if isinstance(each, dict)), {}
            )
            schema = resolved(document, schema)
            return {"object": "dict", "array": "list", "string": "str", "integer": "int"}.get(
                str(schema.get("type")), "Any"
            )
    return "Any"
