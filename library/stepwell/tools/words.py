"""From arguments to the words of a command: never a shell, and no value can become an option."""

import ipaddress
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stepwell.model import Json, JsonObject
from stepwell.tools.headers import HEADERS_SCHEMA, check_headers
from stepwell.tools.network import Refused, Target
from stepwell.tools.recipes import Argument, CommandFile, Recipe

MAX_WORD_BYTES = 128 * 1024 - 1  # one word, with its NUL: MAX_ARG_STRLEN of Linux

_TYPES = {"string": "string", "integer": "integer", "number": "number", "boolean": "boolean", "url": "string"}


@dataclass(frozen=True, slots=True)
class Invocation:
    """Everything after the program's name, and the input."""

    words: tuple[str, ...]
    stdin: bytes


def make_schema(file: CommandFile, recipe: Recipe) -> JsonObject:
    """Return the JSON Schema of a recipe's arguments."""
    return {
        "type": "object",
        "properties": {name: _argument_schema(file.arguments[name]) for name in recipe.takes},
        "required": [name for name in recipe.takes if file.arguments[name].required],
        "additionalProperties": False,
    }


def find_targets(file: CommandFile, arguments: JsonObject, read: Callable[[str], Target]) -> dict[str, Target]:
    """Return the URLs among the arguments, as `read` gives them.

    Raises:
        Refused: by `read`.
    """
    found: dict[str, Target] = {}
    for name, value in arguments.items():
        if file.arguments[name].type == "url":
            urls: list[str] = value if file.arguments[name].repeat else [value]
            found |= {url: read(url) for url in urls}
    return found


def build(
    file: CommandFile,
    recipe: Recipe,
    arguments: JsonObject,
    targets: Mapping[str, Target],
    addresses: Mapping[str, Sequence[str]],
) -> Invocation:
    """Return the words and the input of a call.

    `targets` are the checked URLs by their text, `addresses` the checked addresses by host.

    Raises:
        Refused: a value cannot be passed to a command as it is.
    """
    options: list[str] = []
    positionals: list[str] = []
    stdin: list[str] = []
    for name, argument in file.arguments.items():
        value = arguments.get(name)
        if value is None or value is False:
            continue
        options += argument.adds
        if argument.stdin:
            stdin.append(name)
        elif argument.type == "headers":
            options += _headers(argument, _with_implied(file, arguments, value))
        elif argument.type == "boolean":
            options += [str(argument.option)]
        else:
            for text in _texts(name, argument, value, targets):
                (options if argument.option else positionals).extend(_value_words(file, name, argument, text))
        if argument.resolve_option:
            options += _pin(argument.resolve_option, targets[value], addresses)
    if len(stdin) > 1:
        raise Refused(f"{' and '.join(stdin)} are both given; pass one of them", code="invalid_arguments")
    options += _lone_implied(file, arguments)
    separator = ["--"] if positionals and file.dashes else []
    words = (*file.fixed, *recipe.fixed, *options, *separator, *positionals)
    return Invocation(words, _stdin_bytes(arguments[stdin[0]], file.arguments[stdin[0]]) if stdin else b"")


def _argument_schema(argument: Argument) -> JsonObject:
    if argument.type == "headers":
        return dict(HEADERS_SCHEMA) | _described(argument)
    schema: JsonObject = {} if argument.type == "json" else {"type": _TYPES[argument.type]}
    if argument.choices is not None:
        schema["enum"] = argument.choices
    if argument.pattern is not None:
        schema["pattern"] = argument.pattern
    if schema.get("type") == "string" and not argument.stdin:
        schema["maxLength"] = argument.max_length
    for key, bound in (("minimum", argument.minimum), ("maximum", argument.maximum)):
        if bound is not None:
            schema[key] = bound
    if argument.repeat:
        schema = {"type": "array", "items": schema, "maxItems": 256}
    if argument.default is not None:
        schema["default"] = argument.default
    return schema | _described(argument)


def _described(argument: Argument) -> JsonObject:
    return {"description": argument.description} if argument.description else {}


def _texts(name: str, argument: Argument, value: Json, targets: Mapping[str, Target]) -> list[str]:
    values: list[Json] = value if argument.repeat else [value]
    if argument.type == "url":
        return [targets[url].url for url in values]
    if argument.type == "json":
        return [_json(value)]
    texts = [item if isinstance(item, str) else f"{item}" for item in values]
    for text in texts:
        if "\x00" in text:
            raise Refused(f"{name} holds a NUL character", code="invalid_arguments")
        if len(text.encode()) > MAX_WORD_BYTES - len(argument.option or "") - 1:
            raise Refused(f"{name} is longer than a command accepts", code="invalid_arguments")
    return texts


def _value_words(file: CommandFile, name: str, argument: Argument, text: str) -> list[str]:
    if argument.option and argument.style == "equals":
        return [f"{argument.option}={text}"]
    protected = argument.dash == "allow" if argument.option else file.dashes
    if text.startswith("-") and not protected:
        raise Refused(f"{name} must not begin with '-'", code="invalid_arguments")
    return [argument.option, text] if argument.option else [text]


def _with_implied(file: CommandFile, arguments: JsonObject, given: JsonObject) -> JsonObject:
    present = {name.lower() for name in given}
    implied = {
        header: value
        for name, argument in file.arguments.items()
        if arguments.get(name) is not None
        for header, value in argument.headers.items()
        if header.lower() not in present
    }
    return implied | given


def _lone_implied(file: CommandFile, arguments: JsonObject) -> list[str]:
    # Headers that an argument brings along although the caller gives none.
    for name, argument in file.arguments.items():
        if argument.type == "headers" and arguments.get(name) is None:
            return _headers(argument, _with_implied(file, arguments, {}))
    return []


def _headers(argument: Argument, headers: JsonObject) -> list[str]:
    option = str(argument.option)
    words: list[str] = []
    for name, value in check_headers(headers).items():
        words += [option, f"{name}: {value}" if value else f"{name};"]  # curl's form of an empty header
    return words


def _pin(option: str, target: Target, addresses: Mapping[str, Sequence[str]]) -> list[str]:
    try:
        ipaddress.ip_address(target.host)
    except ValueError:
        found = addresses.get(target.host, ())
        shown = ",".join(f"[{address}]" if ":" in address else address for address in found)
        return [option, f"{target.host}:{target.port}:{shown}"] if found else []
    return []


def _stdin_bytes(value: Json, argument: Argument) -> bytes:
    return (_json(value) if argument.type == "json" else str(value)).encode()


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
