"""From what stands on a command line to a workflow's arguments."""

import difflib
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from stepwell.errors import InvalidArguments
from stepwell.model import Json, JsonObject
from stepwell_server.cli.text import one_line

MAX_BYTES = 16 * 1024 * 1024  # of JSON from a file or stdin; our choice

_INTEGER = re.compile(r"[+-]?\d{1,4000}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NO_VALUE = object()
_ANY = frozenset({"null", "boolean", "integer", "number", "array", "object", "string"})
_WORDS = {
    "integer": ("a whole number", "3"),
    "number": ("a number", "2.5"),
    "boolean": ("true or false", "true"),
    "array": ("a JSON list", '\'["a", "b"]\''),
    "object": ("a JSON object", "'{\"a\": 1}'"),
    "null": ("null", "null"),
    "string": ("text", "text"),
}


def read_json(text: str, what: str) -> Json:
    """Return the JSON of an option's value: JSON itself, `@FILE`, or `-` for stdin.

    Raises:
        click.UsageError: it cannot be read, or is not JSON; `what` names the option.
    """
    try:
        return json.loads(_read_text(text, what), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise click.UsageError(
            f"{what} is no JSON: {error.msg} at line {error.lineno}, column {error.colno}: "
            f'{one_line(error.doc[error.pos : error.pos + 30])!r}. Quote it for the shell: \'{{"name": "Ada"}}\'.'
        ) from error
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{what} is no JSON that can be read: {one_line(str(error))}.") from error


def read_object(text: str, what: str) -> JsonObject:
    """Return a JSON object, read as `read_json` does.

    Raises:
        click.UsageError: as there, or it is JSON of another kind.
    """
    value = read_json(text, what)
    if not isinstance(value, dict):
        raise click.UsageError(f'{what} must be a JSON object, such as \'{{"name": "Ada"}}\', not {_kind(value)}.')
    return value  # pyright: ignore[reportUnknownVariableType] - decoded JSON


def split_pairs(words: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names and texts of `key=value` words.

    Raises:
        click.UsageError: a word has no `=` or no name.
    """
    pairs: list[tuple[str, str]] = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{one_line(word)!r} is no argument; write key=value, or --json '{{...}}'.")
        pairs.append((name, text))
    return pairs


def type_pairs(pairs: Iterable[tuple[str, str]], schema: JsonObject) -> JsonObject:
    """Return the arguments, each of the type that the workflow's schema gives it.

    A name that stands more than once makes a list, where the schema has one.

    Raises:
        InvalidArguments: a text does not fit its type, or the workflow has no such parameter.
    """
    texts: dict[str, list[str]] = {}
    for name, text in pairs:
        texts.setdefault(name, []).append(text)
    properties: JsonObject = schema.get("properties") or {}
    typed: JsonObject = {}
    for name, values in texts.items():
        if name not in properties and schema.get("additionalProperties") is False:
            raise _unknown(name, list(properties))
        typed[name] = _typed(name, values, _Schema(properties.get(name, {}), schema))
    return typed


class _Schema:
    """A part of a schema and the whole that its references point into."""

    def __init__(self, part: Json, root: JsonObject, depth: int = 0) -> None:
        self._root = root
        self._depth = depth
        self.part = self._resolve(part)

    def branches(self) -> list["_Schema"]:
        """Return the alternatives, itself if it has none."""
        listed = self.part.get("anyOf") or self.part.get("oneOf") or []
        if not listed or self._depth > 8:
            return [self]
        inner = [_Schema(part, self._root, self._depth + 1) for part in listed]
        return [leaf for schema in inner for leaf in schema.branches()]

    def types(self) -> frozenset[str]:
        """Return the JSON types it accepts."""
        named = self.part.get("type")
        if named is None:
            return _ANY
        return frozenset([named] if isinstance(named, str) else named)

    def choices(self) -> list[Json] | None:
        """Return the values it is limited to."""
        if "const" in self.part:
            return [self.part["const"]]
        return self.part.get("enum")

    def items(self) -> "_Schema":
        """Return the schema of a list's elements."""
        return _Schema(self.part.get("items", {}), self._root, self._depth + 1)

    def _resolve(self, part: Json) -> JsonObject:
        for _ in range(8):
            reference = part.get("$ref") if isinstance(part, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            if not isinstance(reference, str) or not reference.startswith("#/"):
                break
            part = self._root
            for key in reference[2:].split("/"):
                part = part.get(key, {}) if isinstance(part, dict) else {}  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        return part if isinstance(part, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _typed(name: str, texts: list[str], schema: _Schema) -> Json:
    lists = [branch for branch in schema.branches() if "array" in branch.types() and branch.types() != _ANY]
    if len(texts) > 1:
        if not lists:
            raise InvalidArguments(f"`{name}` is given {len(texts)} times.", hint="Give it once.")
        return [_typed(name, [text], lists[0].items()) for text in texts]
    for branch in schema.branches():
        if (value := _from_choices(texts[0], branch)) is not _NO_VALUE:
            return value
    accepted = frozenset[str]().union(*(branch.types() for branch in schema.branches() if branch.choices() is None))
    value = _from_types(texts[0], accepted)
    if value is _NO_VALUE:
        raise _misfit(name, texts[0], schema, accepted)
    return value


def _from_choices(text: str, schema: _Schema) -> Json:
    for choice in schema.choices() or []:
        if text == choice or (not isinstance(choice, str) and text == json.dumps(choice)):
            return choice
    return _NO_VALUE


def _from_types(text: str, accepted: frozenset[str]) -> Json:
    if accepted == _ANY:
        parsed = _parse(text)
        return text if parsed is _NO_VALUE else parsed
    if "integer" in accepted and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in accepted and _NUMBER.fullmatch(text):
        return int(text) if _INTEGER.fullmatch(text) else float(text)
    if "boolean" in accepted and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if "string" in accepted and not accepted & {"array", "object"}:
        return text
    parsed = _parse(text)
    if parsed is not _NO_VALUE and _kind_name(parsed) in accepted:
        return parsed
    return text if "string" in accepted else _NO_VALUE


def _misfit(name: str, text: str, schema: _Schema, accepted: frozenset[str]) -> InvalidArguments:
    choices = [json.dumps(choice) for branch in schema.branches() for choice in branch.choices() or []]
    kinds = [_WORDS[kind] for kind in ("integer", "number", "boolean", "array", "object", "null") if kind in accepted]
    wanted = " or ".join([*([f"one of {', '.join(choices)}"] if choices else []), *(kind[0] for kind in kinds)])
    example = choices[0].strip('"') if choices else kinds[0][1] if kinds else ""
    return InvalidArguments(
        f"`{name}` must be {wanted}, not {one_line(text, 60)!r}.", hint=f"Write for example {name}={example}"
    )


def _unknown(name: str, known: list[str]) -> InvalidArguments:
    near = difflib.get_close_matches(name[:60], known, n=1)
    takes = f"It takes {', '.join(known)}." if known else "It takes none."
    return InvalidArguments(
        f"The workflow has no parameter {one_line(name, 60)!r}.",
        hint=f"Did you mean {near[0]}? {takes}" if near else takes,
    )


def _parse(text: str) -> Json:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _NO_VALUE


def _read_text(text: str, what: str) -> str:
    if text != "-" and not text.startswith("@"):
        return text
    try:
        if text == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(text[1:]).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise click.UsageError(f"{what} is longer than {MAX_BYTES // 1024**2} MiB.")
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{what}: {one_line(text)} cannot be read: {one_line(str(error))}") from error


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _kind_name(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _kind(value: Json) -> str:
    return _WORDS[_kind_name(value)][0]
