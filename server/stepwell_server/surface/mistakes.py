"""What is wrong with a tool's arguments, in words that a model can act on."""

import difflib
import json
from collections.abc import Iterable
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stepwell.errors import InvalidArguments
from stepwell.model import JsonObject

MAX_CHARACTERS = 1024 * 1024  # of all arguments together
MAX_DEPTH = 100
MAX_PROBLEMS = 8  # named in one answer
MAX_SHOWN = 60  # characters of a wrong value

_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
}


def check_size(arguments: Any) -> None:
    """Refuse arguments that are too large or too deep; looks at no more than the limit.

    Raises:
        InvalidArguments: nothing of them is repeated.
    """
    left = MAX_CHARACTERS
    waiting: list[tuple[Any, int]] = [(arguments, 0)]
    while waiting:
        value, depth = waiting.pop()
        left -= len(cast("str | list[Any] | dict[Any, Any]", value)) if isinstance(value, (str, list, dict)) else 1
        if left < 0:
            raise InvalidArguments(
                f"The arguments have more than {MAX_CHARACTERS:,} characters.",
                hint="Pass large data by reference: a URL that the workflow fetches, or an artifact's name.",
            )
        if depth > MAX_DEPTH:
            raise InvalidArguments(f"The arguments are nested more than {MAX_DEPTH} levels deep.", hint="Flatten them.")
        if isinstance(value, dict):
            for key, item in cast("dict[str, Any]", value).items():
                left -= len(key)
                waiting.append((item, depth + 1))
        elif isinstance(value, list):
            waiting.extend((item, depth + 1) for item in cast("list[Any]", value))


def read_arguments(tool: str, model: type[BaseModel], schema: JsonObject, arguments: JsonObject) -> Any:
    """Return the model of the arguments. Null means "not given" wherever there is a default.

    Raises:
        InvalidArguments: names every problem; the hint shows the form of the call.
    """
    fields = model.model_fields
    given = {
        name: value
        for name, value in arguments.items()
        if value is not None or name not in fields or fields[name].is_required()
    }
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = [_explain(detail, schema) for detail in error.errors(include_url=False, include_context=False)]
        raise InvalidArguments(_join(tool, problems), hint=f"Call it as {call_form(tool, schema)}.") from None


def call_form(tool: str, schema: JsonObject) -> str:
    """Return `tool(name: text, limit?: whole number)`; `?` marks what may be left out."""
    required = set(schema.get("required", []))
    parts: list[str] = []
    for name, of in schema["properties"].items():
        shown = "|".join(map(json.dumps, of["enum"])) if "enum" in of else of.get("type", "any")
        if len(shown) > 60:
            shown = "string"
        parts.append(f"{name}{'' if name in required else '?'}: {shown}")
    return f"{tool}({', '.join(parts)})"


def near(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Return the known names most like `name`, best first; the order of words counts little."""
    by_form: dict[str, str] = {}
    for candidate in known:
        by_form.setdefault(candidate, candidate)
        by_form.setdefault(_words(candidate), candidate)
    wanted = name[:100].lower()
    found = [
        match
        for form in (wanted, _words(wanted))
        for match in difflib.get_close_matches(form, by_form, n=limit, cutoff=0.6)
    ]
    return list(dict.fromkeys(by_form[match] for match in found))[:limit]


def _words(name: str) -> str:
    return "_".join(sorted(name.split("_")))


def show(value: Any) -> str:
    """Return a wrong value for a message: JSON, shortened; containers by kind and size only."""
    if isinstance(value, dict):
        return f"an object with {len(cast('dict[Any, Any]', value))} members"
    if isinstance(value, list):
        return f"an array of {len(cast('list[Any]', value))} items"
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"{value[:MAX_SHOWN]!a}... ({len(value):,} characters)"
    return "null" if value is None else json.dumps(value)[:MAX_SHOWN]


def _join(tool: str, problems: list[str]) -> str:
    more = len(problems) - MAX_PROBLEMS
    shown = problems[:MAX_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
    said = f"{tool}: {'; '.join(shown)}"
    return said if said.endswith("?") else f"{said}."


def _explain(detail: ErrorDetails, schema: JsonObject) -> str:
    path = [str(part) for part in detail["loc"]]
    name = path[0][:MAX_SHOWN] if path else "arguments"
    if detail["type"] == "missing":
        return f"`{name}` is missing ({_expected(schema['properties'][name])})"
    if detail["type"] == "extra_forbidden":
        others = near(name, schema["properties"])
        return f"`{name}` is no argument" + (f", did you mean `{others[0]}`?" if others else "")
    where = "".join(f"[{part}]" if part.isdigit() else "" for part in path[1:])
    wanted = _node(schema["properties"].get(name, {}), path[1:])
    expected = detail["msg"] if detail["type"] in ("json_object", "nul") else _expected(wanted)
    return f"`{name}{where}` must be {expected}, not {show(detail['input'])}"


def _node(node: JsonObject, path: list[str]) -> JsonObject:
    for part in path:
        if part.isdigit() and "items" in node:
            node = node["items"]
        elif isinstance(node.get("additionalProperties"), dict):
            node = node["additionalProperties"]
    return node


def _expected(schema: JsonObject) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    kind = _KINDS.get(str(schema.get("type")), "a JSON value")
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{kind} from {_number(low)} to {_number(high)}"
    shortest, longest = schema.get("minLength"), schema.get("maxLength")
    if longest is not None:
        return f"{kind} of {shortest or 0} to {longest} characters"
    if shortest:
        return f"{kind} of at least {shortest} character{'' if shortest == 1 else 's'}"
    if "maxItems" in schema:
        return f"{kind} of at most {schema['maxItems']} items"
    return kind


def _number(value: float) -> str:
    return f"{value:g}" if value < 1e6 else f"{int(value):,}"
