"""Questions that a tool asks a person while it is called: each field of its form is a question of the run.

The call is under way meanwhile, so the run keeps its process; it is shown as waiting.
"""

import hashlib
from typing import Protocol

from stepwell.engine.waiting import Waiting, input_wait
from stepwell.model import Json, JsonObject
from stepwell.ports import Asker, Inquiry, Reply
from stepwell.ports.frames import Call

MARK = "!ask"  # behind a call's key, with a number
MAX_QUESTIONS = 100  # of one call
TRIES = 3  # for an answer of the right type
YES_NO = ({"id": "yes", "label": "Yes"}, {"id": "no", "label": "No"})
GO_ON = ({"id": "yes", "label": "Yes, go on"}, {"id": "no", "label": "No"})

_Field = tuple[str, JsonObject]
_WRONG: Json = object()


class _Question(Protocol):
    async def __call__(self, prompt: str, field: JsonObject, *, optional: bool) -> Json: ...


class _Declined(Exception):
    pass


def make_asker(waits: Waiting, call: Call, digest: str) -> Asker:
    """Return what asks on behalf of one call; a person who skips what is required has declined."""
    asked = 0

    async def question(prompt: str, field: JsonObject, *, optional: bool) -> Json:
        nonlocal asked
        asked += 1
        if asked > MAX_QUESTIONS:
            raise _Declined
        key = f"{call.key}{MARK}{asked}"
        # Bound to the question's text too: the same place may ask something else the next time.
        said = hashlib.sha256(f"{prompt}\0{field}".encode()).hexdigest()
        request = {"prompt": prompt, "skippable": True, **_form(field)}
        wait = input_wait(key, call.name, f"{call.label(digest)}\0{said}", request)
        waits.held.add(key)
        try:
            decision = await waits.until_decided(wait)
            waits.take(key)
        finally:
            waits.held.discard(key)
        value = None if decision is None else decision.get("value")
        if value is None and not optional:
            raise _Declined
        return value

    async def ask(inquiry: Inquiry) -> Reply:
        try:
            return Reply("accept", await _fill(inquiry, question))
        except _Declined:
            return Reply("decline", {})

    return ask


async def _fill(inquiry: Inquiry, question: _Question) -> JsonObject:
    fields: list[_Field] = list((inquiry.schema.get("properties") or {}).items())
    required = set(inquiry.schema.get("required") or [])
    if not fields:
        if await question(inquiry.prompt, {"type": "boolean", "oneOf": GO_ON}, optional=False) != "yes":
            raise _Declined
        return {}
    content: JsonObject = {}
    for name, field in fields:
        title = str(field.get("title") or name)
        said = str(field.get("description") or "")
        prompt = f"{inquiry.prompt}\n\n{title}{f': {said}' if said else ''}"
        for _ in range(TRIES):
            value = _typed(field, await question(prompt, field, optional=name not in required))
            if value is not _WRONG:
                break
        else:
            raise _Declined
        if value is not None:
            content[name] = value
    return content


def _form(field: JsonObject) -> JsonObject:
    kind = field.get("type")
    if kind == "boolean":
        return {"input_type": "select", "options": list(field.get("oneOf") or YES_NO)}
    if kind == "array":
        items: JsonObject = field.get("items") or {}
        return {"input_type": "multiselect", "options": _choices(items)}
    if choices := _choices(field):
        return {"input_type": "select", "options": choices}
    return {"input_type": "text"}


def _choices(field: JsonObject) -> list[Json]:
    titled: list[JsonObject] = field.get("oneOf") or field.get("anyOf") or []
    if titled:
        return [{"id": each.get("const"), "label": each.get("title") or each.get("const")} for each in titled]
    values: list[Json] = field.get("enum") or []
    names: list[Json] = field.get("enumNames") or values
    return [{"id": value, "label": label} for value, label in zip(values, names, strict=False)]


def _typed(field: JsonObject, value: Json) -> Json:
    if value is None:
        return None
    match field.get("type"):
        case "boolean":
            return value == "yes"
        case "integer" | "number" as kind:
            try:
                return int(value) if kind == "integer" else float(value)
            except (TypeError, ValueError):
                return _WRONG
        case _:
            return value
