"""Codec values as plain JSON, for people, models, tools and other workflows."""

import base64
import math
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from stepwell.model import Json
from stepwell.sdk.codec import TAG

CLASS_TAGS = ("data", "enum", "model", "named")
TEXT_TAGS = ("datetime", "date", "time", "decimal", "uuid", "path")


@dataclass(slots=True)
class Shown:
    """A value at the border, and what was lost on the way."""

    value: Json
    warnings: list[str] = field(default_factory=list[str])


def show(encoded: bytes | None) -> Shown:
    """Return codec JSON as plain JSON: bytes as base64 text, sets sorted, Decimal and dates as text, NaN as null."""
    shown = Shown(None)
    if encoded is not None:
        shown.value = _plain(msgspec.json.decode(encoded), shown.warnings)
    return shown


def plain(decoded: Json) -> Json:
    """Return decoded codec JSON as plain JSON."""
    return _plain(decoded, [])


def across_runs(encoded: bytes) -> bytes:
    """Return codec JSON in which classes of the workflow's own module are plain: the other run has not got them."""
    if b'"$"' not in encoded:
        return encoded
    return msgspec.json.encode(_without_classes(msgspec.json.decode(encoded)))


def _without_classes(value: Json) -> Json:
    if isinstance(value, list):
        return [_without_classes(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get(TAG) in CLASS_TAGS:
        return _without_classes(value["v"])
    return {key: _without_classes(item) for key, item in value.items()}


def _plain(value: Json, warnings: list[str]) -> Json:
    if isinstance(value, list):
        return [_plain(item, warnings) for item in value]
    if not isinstance(value, dict):
        return value
    tag = value.get(TAG)
    if tag is None:
        return {key: _plain(item, warnings) for key, item in value.items()}
    return _tagged(str(tag), value.get("v"), warnings)


def _tagged(tag: str, inner: Json, warnings: list[str]) -> Json:
    if tag in TEXT_TAGS:
        return inner
    if tag in CLASS_TAGS or tag in ("tuple", "set", "frozenset"):
        return _plain(inner, warnings)
    match tag:
        case "int":
            return int(inner) if len(inner) < 4000 else inner
        case "float":
            warnings.append("NaN and infinity are shown as null")
            return None
        case "timedelta":
            return timedelta(*inner).total_seconds()
        case "bytes":
            warnings.append("bytes are shown as base64")
            return {"base64": inner}
        case "str":
            return base64.b64decode(inner).decode("utf-8", "backslashreplace")
        case "dict":
            return _text_keys(inner, warnings)
        case _:
            return {TAG: tag, "v": _plain(inner, warnings)}


def _text_keys(pairs: list[list[Json]], warnings: list[str]) -> Json:
    shown: dict[str, Json] = {}
    for key, item in pairs:
        text = key if isinstance(key, str) else _key(_plain(key, warnings))
        while text in shown:
            warnings.append(f"two keys are shown as {text!r}")
            text += "'"
        shown[text] = _plain(item, warnings)
    warnings.append("keys that are no strings are shown as text")
    return shown


def _key(value: Json) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
