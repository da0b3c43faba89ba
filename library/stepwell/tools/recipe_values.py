"""Whether the values in a recipe file fit the arguments that they are for."""

import re

from stepwell.model import Json
from stepwell.tools.recipes import Argument

_MEANT = {
    "string": "text",
    "url": "a URL",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "headers": "a mapping of names to texts",
}


def misfit(argument: Argument, value: Json) -> str:
    """Return what the value must be, or nothing if it is that."""
    if not argument.repeat:
        return _misfit(argument, value)
    if not isinstance(value, list) or not value:
        return "a list, since the argument repeats"
    return next((f"a list of which each is {said}" for item in value if (said := _misfit(argument, item))), "")


def _misfit(argument: Argument, value: Json) -> str:
    if not _is_of(argument.type, value):
        return _MEANT.get(argument.type, "")
    if isinstance(value, str):
        if argument.choices is not None and value not in argument.choices:
            return f"one of {', '.join(argument.choices)}"
        if argument.pattern is not None and not re.search(argument.pattern, value):
            return f"text that {argument.pattern} matches"
        if len(value) > argument.max_length and not argument.stdin:
            return f"at most {argument.max_length} characters long"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if argument.minimum is not None and value < argument.minimum:
            return f"at least {argument.minimum:g}"
        if argument.maximum is not None and value > argument.maximum:
            return f"at most {argument.maximum:g}"
    return ""


def _is_of(kind: str, value: Json) -> bool:
    match kind:
        case "string" | "url":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "headers":
            return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
        case _:
            return True
