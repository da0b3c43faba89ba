"""How values are written into a path, a query, a header or a cookie."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from stepwell.model import Json, JsonObject

Place = Literal["path", "query", "header", "cookie"]
Pair = tuple[str, str]

DEFAULTS: dict[str, str] = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
STYLES: dict[str, tuple[str, ...]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
MAX_DEPTH = 20
_DELIMITERS = {"form": ",", "spaceDelimited": " ", "pipeDelimited": "|"}
_RESERVED = ":/?#[]@!$&'()*+,;="


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument that goes into the URL, the headers or the cookies."""

    argument: str
    name: str
    """As the service knows it."""
    place: Place
    style: str
    """One of those of its place; empty: as JSON."""
    explode: bool
    reserved: bool = False
    """Whether characters that mean something in a query go out as they are."""


def write_text(value: Json) -> str:
    """Return a value without parts as the text that it is sent as; one with parts as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_pairs(parameter: Parameter, value: Json) -> list[Pair]:
    """Return names and values of a query, a form or a cookie, not escaped yet."""
    name = parameter.name
    if not parameter.style or not isinstance(value, list | dict):
        return [(name, write_text(value))]
    if parameter.style == "deepObject":
        return list(_deep(name, value, 0))
    delimiter = _DELIMITERS[parameter.style]
    if isinstance(value, list):
        texts = [write_text(item) for item in value]
        return [(name, text) for text in texts] if parameter.explode else [(name, delimiter.join(texts))]
    if parameter.explode:
        return [(key, write_text(item)) for key, item in value.items()]
    return [(name, delimiter.join(part for key, item in value.items() for part in (key, write_text(item))))]


def write_segment(parameter: Parameter, value: Json) -> str:
    """Return what stands in the path, escaped."""
    name, explode = parameter.name, parameter.explode
    if not parameter.style or not isinstance(value, list | dict):
        text = _escape(write_text(value))
        return {"label": f".{text}", "matrix": f";{name}={text}"}.get(parameter.style, text)
    if isinstance(value, dict):
        between = "=" if explode else ","
        parts = [f"{_escape(key)}{between}{_escape(write_text(item))}" for key, item in value.items()]
    else:
        parts = [_escape(write_text(item)) for item in value]
        if parameter.style == "matrix" and explode:
            parts = [f"{name}={part}" for part in parts]
    match parameter.style:
        case "label":
            return "." + ("." if explode else ",").join(parts)
        case "matrix":
            return ";" + ";".join(parts) if explode else f";{name}={','.join(parts)}"
        case _:
            return ",".join(parts)


def write_header(parameter: Parameter, value: Json) -> str:
    """Return the value of a header."""
    if not parameter.style or not isinstance(value, list | dict):
        return write_text(value)
    if isinstance(value, list):
        return ",".join(write_text(item) for item in value)
    between = "=" if parameter.explode else ","
    return ",".join(f"{key}{between}{write_text(item)}" for key, item in value.items())


def join_query(pairs: list[tuple[Pair, bool]]) -> str:
    """Return pairs as a query; those that say so keep reserved characters."""
    return "&".join(
        f"{quote(name, safe='[]')}={quote(value, safe=_RESERVED.replace('&', '').replace('#', '') if reserved else '')}"
        for (name, value), reserved in pairs
    )


def join_cookies(pairs: list[Pair]) -> str:
    """Return pairs as the value of the `Cookie` header."""
    return "; ".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)


def _deep(name: str, value: Json, depth: int) -> Iterator[Pair]:
    if depth >= MAX_DEPTH or not isinstance(value, list | dict):
        yield name, write_text(value)
        return
    items: list[tuple[str, Json]] = (
        list(value.items()) if isinstance(value, dict) else [(f"{n}", item) for n, item in enumerate(value)]
    )
    for key, item in items:
        yield from _deep(f"{name}[{key}]", item, depth + 1)


def _escape(text: str) -> str:
    return quote(text, safe="")


def read_style(given: JsonObject, place: str) -> tuple[str, bool]:
    """Return style and explode of a parameter.

    Raises:
        ValueError: the place or the style is none that is known.
    """
    if place not in STYLES:
        raise ValueError(f"parameters in {place!r} are not supported")
    if "schema" not in given and given.get("content"):
        return "", False
    style = str(given.get("style") or DEFAULTS[place])
    if style not in STYLES[place]:
        raise ValueError(f"the style {style!r} of parameters in the {place} is not supported")
    explode = given.get("explode")
    return style, style in ("form", "deepObject") if explode is None else explode is True
