"""Mistakes in configuration files, each with its line and what was probably meant."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stepwell.tools.messages import clean

KeyPath: TypeAlias = tuple[str, ...]
"""Keys from the root; an index into a list is its decimal text."""
Lines: TypeAlias = Mapping[KeyPath, int]
"""1-based line of each key or element."""

_QUOTED = re.compile(r"'([^']*)'")


def list_mistakes(error: ValidationError, model: type[BaseModel], lines: Lines) -> list[tuple[int, str]]:
    """Return line and text of every mistake, in the order of the file."""
    found = [
        (find_line(lines, [str(part) for part in details["loc"]]), _describe(details, model))
        for details in error.errors(include_url=False)
    ]
    return sorted(found, key=lambda item: item[0])


def find_line(lines: Lines, path: Sequence[str]) -> int:
    """Return the line of the key, else of the nearest thing around it that has one."""
    for length in range(len(path), 0, -1):
        if (line := lines.get(tuple(path[:length]))) is not None:
            return line
    return 1


def suggest(word: str, known: Sequence[str]) -> str:
    """Return ` (did you mean "x"?)`, else the known words, else nothing."""
    near = get_close_matches(word, known, n=1)
    if near:
        return f' (did you mean "{near[0]}"?)'
    return f" (known: {', '.join(sorted(known))})" if known else ""


def dotted(path: Sequence[str | int]) -> str:
    """Return the path as it would be written: `policy.tools."github.*"`, `http.allow_hosts[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            text += f".{key}" if text else key
    return clean(text, 200)


def _describe(details: ErrorDetails, model: type[BaseModel]) -> str:
    # pydantic marks a mistake in a key itself so.
    location = [part for part in details["loc"] if part != "[key]"]
    where = dotted(location)
    context: dict[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"{where}: unknown key" + suggest(str(location[-1]), _known_keys(model, location[:-1]))
        case "missing":
            return f"{where} is missing"
        case "literal_error":
            options: list[str] = _QUOTED.findall(str(context.get("expected", "")))
            shown = ", ".join(f'"{option}"' for option in options)
            near = get_close_matches(str(details["input"]), options, n=1)
            meant = f' (did you mean "{near[0]}"?)' if near else ""
            return f"{where} must be one of {shown}, not {_shown(details)}{meant}"
        case "value_error":
            return f"{where}: {context['error']}" if where else str(context["error"])
        case "model_type" | "dict_type" | "dataclass_type":
            return f"{where} must be a table of keys and values, not {_shown(details)}"
        case _:
            said = details["msg"].removeprefix("Input should be ").removeprefix("a valid ")
            return f"{where} must be {said}, not {_shown(details)}"


def _shown(details: ErrorDetails) -> str:
    return clean(repr(details["input"]), 80)


def _known_keys(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    current: Any = model
    for part in location:
        if _is_model(current):
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:
            # dict[str, Model] and list[Model]: the last argument is what is inside.
            current = next(reversed(get_args(current)), None)
    if _is_model(current):
        return list(current.model_fields)
    return list(getattr(current, "__dataclass_fields__", {}))


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
