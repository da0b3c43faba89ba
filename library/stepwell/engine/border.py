"""Codec values as plain JSON, for people, models, tools and other workflows.

A guest may send any JSON as codec JSON. A tagged object that the codec would not have made is kept as it is.
"""

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from stepwell.model import Json, JsonObject
from stepwell.sdk import codec
from stepwell.sdk.codec import TAG

CLASS_TAGS = ("data", "enum", "model", "named")
TEXT_TAGS = ("datetime", "date", "time", "decimal", "uuid")
LIST_TAGS = ("tuple", "set", "frozenset")
MAX_DIGITS = 4000  # of an integer; Python itself reads and writes at most 4300
MAX_WARNINGS = 20


@dataclass(slots=True)
class Shown:
    """A value at the border, and what was lost on the way."""

    value: Json
    warnings: list[str] = field(default_factory=list[str])


class _Malformed(Exception):
    """A tagged object that the codec would not have made."""


def show(encoded: bytes | None) -> Shown:
    """Return codec JSON as plain JSON: bytes as base64 text, sets sorted, Decimal and dates as text, NaN as null."""
    shown = Shown(None)
    if encoded is not None:
        shown.value = _shown(msgspec.json.decode(encoded), shown.warnings)
    return shown


def plain(decoded: Json) -> Json:
    """Return decoded codec JSON as plain JSON."""
    return _shown(decoded, [])


def across_runs(encoded: bytes) -> bytes:
    """Return codec JSON in which classes of the workflow's own module are plain: the other run has not got them.

    What is malformed becomes a plain dict with the key `$`, so that the other run can read it.
    """
    if b'"$"' not in encoded:
        return encoded
    return msgspec.json.encode(_without_classes(msgspec.json.decode(encoded)))


def read_bytes(tagged: JsonObject) -> bytes:
    """Return the bytes of an object with the tag `bytes`.

    Raises:
        ValueError: it holds no base64.
    """
    try:
        return _from_base64(tagged.get("v"))
    except _Malformed as error:
        raise ValueError(str(error)) from None


def _shown(decoded: Json, warnings: list[str]) -> Json:
    try:
        return _plain(decoded, warnings)
    except RecursionError:
        _warn(warnings, "a value that is nested too deep is shown as null")
        return None


def _plain(value: Json, warnings: list[str]) -> Json:
    if isinstance(value, list):
        return [_plain(item, warnings) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: _plain(item, warnings) for key, item in value.items()}
    try:
        return _tagged(value[TAG], _inner(value), warnings)
    except _Malformed as malformed:
        _warn(warnings, f"a malformed value is shown as it is: {malformed}")
        return value


def _tagged(tag: Json, inner: Json, warnings: list[str]) -> Json:
    if tag in LIST_TAGS:
        return _plain(_a_list(inner), warnings)
    if tag in CLASS_TAGS:
        return _plain(inner, warnings)
    if tag == "dict":
        return _text_keys(_pairs(inner), warnings)
    shown = _leaf(tag, inner)
    if tag == "float":
        _warn(warnings, "NaN and infinity are shown as null")
    if tag == "bytes":
        _warn(warnings, "bytes are shown as base64")
    return shown


def _inner(value: JsonObject) -> Json:
    if "v" not in value:
        raise _Malformed("it has no v")
    return value["v"]


def _leaf(tag: Json, inner: Json) -> Json:
    read = _LEAVES.get(tag) if isinstance(tag, str) else None
    if read is None:
        raise _Malformed("an unknown tag")
    try:
        return read(inner)
    except (TypeError, ValueError, OverflowError):
        raise _Malformed(f"{tag} without its value") from None


def _a_list(inner: Json) -> list[Json]:
    if not isinstance(inner, list):
        raise _Malformed("no list of items")
    return inner


def _pairs(inner: Json) -> list[list[Json]]:
    pairs = _a_list(inner)
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise _Malformed("no list of keys and values")
    return pairs


def _text(inner: Json) -> str:
    if not isinstance(inner, str):
        raise _Malformed("no text")
    return inner


def _path(inner: Json) -> str:
    # The name of a file that is no valid text is tagged itself.
    return _text(_leaf("str", inner.get("v")) if isinstance(inner, dict) and inner.get(TAG) == "str" else inner)


def _from_base64(inner: Json) -> bytes:
    try:
        return base64.b64decode(_text(inner), validate=True)
    except ValueError:
        raise _Malformed("no base64") from None


def _surrogates(inner: Json) -> str:
    return _from_base64(inner).decode("utf-8", "surrogatepass").encode("utf-8", "backslashreplace").decode()


def _integer(inner: Json) -> Json:
    text = _text(inner)
    if not text.removeprefix("-").isdecimal():
        raise _Malformed("no integer")
    return int(text) if len(text) < MAX_DIGITS else text


def _no_number(inner: Json) -> None:
    if math.isfinite(float(_text(inner))):
        raise _Malformed("a number that needs no tag")


def _seconds(inner: Json) -> float:
    parts = _a_list(inner)
    if len(parts) != 3 or not all(type(part) is int for part in parts):
        raise _Malformed("no days, seconds and microseconds")
    return timedelta(*parts).total_seconds()


def _base64_text(inner: Json) -> Json:
    _from_base64(inner)
    return {"base64": inner}


_LEAVES: dict[str, Callable[[Json], Json]] = {
    **dict.fromkeys(TEXT_TAGS, _text),
    "path": _path,
    "int": _integer,
    "float": _no_number,
    "timedelta": _seconds,
    "bytes": _base64_text,
    "str": _surrogates,
}


def _text_keys(pairs: list[list[Json]], warnings: list[str]) -> Json:
    shown: dict[str, Json] = {}
    again: dict[str, int] = {}
    for key, item in pairs:
        text = _plain(key, warnings)
        if not isinstance(text, str) or (isinstance(key, dict) and key.get(TAG) not in ("str", "enum")):
            _warn(warnings, "keys that are no strings are shown as text")
        name = text = _key(text)
        while name in shown:
            _warn(warnings, f"two keys are shown as {text[:100]!r}")
            again[text] = again.get(text, 0) + 1
            name = f"{text}'{again[text]}"
        shown[name] = _plain(item, warnings)
    return shown


def _key(value: Json) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _warn(warnings: list[str], text: str) -> None:
    if len(warnings) < MAX_WARNINGS and text not in warnings:
        warnings.append(text)


def _without_classes(value: Json) -> Json:
    if isinstance(value, list):
        return [_without_classes(item) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: _without_classes(item) for key, item in value.items()}
    tag = value[TAG]
    try:
        inner = _inner(value)
        if tag in CLASS_TAGS:
            return _without_classes(inner)
        if tag in LIST_TAGS:
            return {TAG: tag, "v": _without_classes(_a_list(inner))}
        if tag == "dict":
            return {TAG: tag, "v": _without_classes(_pairs(inner))}
        codec.decode(value, _no_class)
    except (_Malformed, codec.CodecError):
        return {TAG: "dict", "v": [[key, _without_classes(item)] for key, item in value.items()]}
    return {TAG: tag, "v": inner}


def _no_class(name: str) -> None:
    return None
