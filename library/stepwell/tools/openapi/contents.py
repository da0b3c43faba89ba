"""Bodies of requests: JSON, forms, files, and whatever else is a text or bytes."""

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote_plus

from stepwell.model import Json, JsonObject
from stepwell.tools.openapi.schemas import described, resolved
from stepwell.tools.openapi.styles import Pair, Parameter, read_style, write_pairs, write_text

Kind = Literal["json", "form", "multipart", "raw"]

FILE: JsonObject = {
    "description": 'A text, or {"base64": ..., "filename": ..., "content_type": ...}; bytes may stand under base64.',
    "oneOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                "base64": {"type": "string"},
                "filename": {"type": "string"},
                "content_type": {"type": "string"},
            },
            "required": ["base64"],
            "additionalProperties": False,
        },
    ],
}
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_NO_HEADER = str.maketrans({"\r": "%0D", "\n": "%0A", '"': "%22"})


@dataclass(frozen=True, slots=True)
class Content:
    """What an operation takes as its body."""

    media: str
    kind: Kind
    required: bool
    fields: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])
    """Of a form: fields that are not written in the usual way."""
    types: Mapping[str, str] = field(default_factory=dict[str, str])
    """Media types of the parts of a multipart form, where the document gives them."""


class BadFile(Exception):
    """What should be a file is none; the text says why."""


def read_content(document: JsonObject, operation: JsonObject) -> tuple[Content, JsonObject] | None:
    """Return the body of an operation with its schema; None if it takes none.

    Raises:
        ValueError: a form is written in a way that is not known.
    """
    if "requestBody" not in operation:
        return None
    body = resolved(document, operation["requestBody"])
    offered: JsonObject = body.get("content") or {}
    required = body.get("required") is True
    media = _choose(list(offered))
    kind = _kind(media)
    found: JsonObject = offered.get(media) or {}
    schema: JsonObject = found.get("schema") or {}
    if kind == "raw":
        text = media.startswith("text/") or media.endswith(("/xml", "+xml"))
        schema = {"type": "string"} if text else FILE
        # `text/*` and `*/*` are for the caller to fill in.
        sent = media if "*" not in media else "text/plain" if text else "application/octet-stream"
        return Content(sent, kind, required), described(schema, body)
    if kind == "json":
        return Content(media, kind, required), described(schema, body)
    encoding: Mapping[str, JsonObject] = found.get("encoding") or {}
    fields = {name: _field(name, given) for name, given in encoding.items() if "style" in given}
    types = {
        name: str(given["contentType"]).partition(",")[0] for name, given in encoding.items() if "contentType" in given
    }
    if kind == "multipart":
        schema = _with_files(document, schema)
    return Content(media, kind, required, fields, types), described(schema, body)


def write_content(content: Content, body: Json) -> tuple[bytes, str]:
    """Return the bytes and their media type.

    Raises:
        BadFile: bytes are given that are no base64.
    """
    match content.kind:
        case "json":
            return json.dumps(body, ensure_ascii=False, allow_nan=False).encode(), content.media
        case "form":
            pairs = [pair for name, value in _items(body) for pair in _form_pairs(content, name, value)]
            return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs).encode(), _FORM
        case "multipart":
            return _multipart(content, body)
        case "raw":
            data, _, kind = _file("body", body)
            text = content.media.startswith("text/") and "charset" not in content.media
            return data, kind or (f"{content.media}; charset=utf-8" if text else content.media)


def _choose(offered: list[str]) -> str:
    for wanted in (_JSON, None, _FORM, _MULTIPART):
        for media in offered:
            bare = media.partition(";")[0].strip().lower()
            if bare == wanted or (wanted is None and bare.endswith("+json")):
                return media
    return offered[0] if offered else "*/*"


def _kind(media: str) -> Kind:
    bare = media.partition(";")[0].strip().lower()
    if bare == _JSON or bare.endswith("+json"):
        return "json"
    return "form" if bare == _FORM else "multipart" if bare == _MULTIPART else "raw"


def _field(name: str, given: JsonObject) -> Parameter:
    style, explode = read_style({"schema": {}, **given}, "query")
    return Parameter(name, name, "query", style, explode)


def _with_files(document: JsonObject, schema: JsonObject) -> JsonObject:
    """Return the form's schema, with texts or bytes where it wants files."""
    whole = resolved(document, schema)
    properties: JsonObject = whole.get("properties") or {}

    def taken(given: Json) -> Json:
        found = resolved(document, given)
        if found.get("type") == "array" and _is_file(resolved(document, found.get("items"))):
            return {"type": "array", "items": FILE}
        return FILE if _is_file(found) else given

    return whole | {"properties": {name: taken(given) for name, given in properties.items()}}


def _is_file(schema: JsonObject) -> bool:
    if schema.get("type") != "string":
        return False
    return schema.get("format") == "binary" or "contentMediaType" in schema or "contentEncoding" in schema


def _items(body: Json) -> list[tuple[str, Json]]:
    return list(body.items()) if isinstance(body, dict) else []


def _form_pairs(content: Content, name: str, value: Json) -> list[Pair]:
    if name in content.fields:
        return write_pairs(content.fields[name], value)
    values = value if isinstance(value, list) else [value]
    return [(name, write_text(item)) for item in values]


def _multipart(content: Content, body: Json) -> tuple[bytes, str]:
    boundary = secrets.token_hex(16)
    made = bytearray()
    for name, value in _items(body):
        for item in value if isinstance(value, list) else [value]:
            data, filename, kind = _file(name, item)
            is_file = bool(filename) or (isinstance(item, dict) and "base64" in item)
            usual = "application/octet-stream" if is_file else _JSON if isinstance(item, dict | list) else ""
            kind = kind or content.types.get(name, "") or usual
            head = f'Content-Disposition: form-data; name="{name.translate(_NO_HEADER)}"'
            if is_file:
                head += f'; filename="{(filename or name).translate(_NO_HEADER)}"'
            if kind:
                head += f"\r\nContent-Type: {kind.translate(_NO_HEADER)}"
            made += f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n"
    made += f"--{boundary}--\r\n".encode()
    return bytes(made), f"{_MULTIPART}; boundary={boundary}"


def _file(name: str, value: Json) -> tuple[bytes, str, str]:
    """Return bytes, file name and media type; the latter two only of what was given with them."""
    if not isinstance(value, dict) or "base64" not in value:
        return write_text(value).encode(), "", ""
    try:
        data = base64.b64decode(str(value["base64"]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadFile(f"{name}: base64 holds no base64: {error}") from error
    return data, str(value.get("filename") or ""), str(value.get("content_type") or "")
