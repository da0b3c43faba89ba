"""The parts of a run that `get_run` shows on demand, page by page."""

import dataclasses
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from stepwell.errors import InvalidArguments
from stepwell.model import Json, JsonObject, Run
from stepwell_server.results import run_result, spent_result
from stepwell_server.surface.arguments import GetRun, Include
from stepwell_server.surface.paging import find, page
from stepwell_server.surface.replies import MAX_RESULT, dump, plain, shorten, size
from stepwell_server.surface.table import Call

ROWS = 200  # read at once
HEAD_BYTES = 6_000  # of the run itself beside its parts
ROW_TEXT = 2_000  # characters of one text in a row
CONTEXT_TEXT = 300  # characters of what one of many waits shows
MAX_OPTIONS = 10  # of one of many waits
MAX_ERROR = 4_000  # characters of an error's message
VALUES: tuple[Include, ...] = ("output", "step_results", "input")


def show_run(run: Run) -> JsonObject:
    """Return the run for a client: within one result, whatever its size, what is needed to go on."""
    shown = run_result(run)
    if error := shown["error"]:
        shown["error"] = error | {"message": shorten(error["message"], MAX_ERROR)}
    if size(shown) > MAX_RESULT:
        for wait in shown["waiting_for"]:
            wait["context"] = _short(wait["context"], CONTEXT_TEXT)
            wait["options"] = wait["options"][:MAX_OPTIONS]
    return shown


async def include_parts(call: Call, run: Run, given: GetRun) -> JsonObject:
    """Return the run with the parts asked for; `more` says how each goes on.

    Raises:
        InvalidArguments: `path` leads nowhere, or belongs to no part.
    """
    parts = _parts(given)
    shown = show_run(dataclasses.replace(run, output=None, step_results={}))
    for part in VALUES:
        shown.pop(part, None)
    shown = _short_head(shown)
    budget = max(2_000, (MAX_RESULT - size(shown) - 1_500) // len(parts))
    more: dict[str, JsonObject] = {}
    for part in parts:
        note: JsonObject = {}
        if part == "spending":
            value: Json = await _spending(call, run)
        elif part in VALUES:
            value, note = await _value(run, part, given, budget)
        else:
            value, note = await _rows(call, run, part, given, budget)
        shown[part] = value
        if note:
            more[part] = note
    return shown | ({"more": more} if more else {})


def _parts(given: GetRun) -> list[Include]:
    parts: list[Include] = list(dict.fromkeys(given.include)) or ["output"]
    if given.path and not any(part in VALUES for part in parts):
        raise InvalidArguments(
            "get_run: `path` leads into output, step_results or input only.",
            hint='Add one of them: include=["output"]. The timeline, journal and logs go on with `offset`.',
        )
    return parts


async def _value(run: Run, part: Include, given: GetRun, budget: int) -> tuple[Json, JsonObject]:
    whole: Json = {"output": run.output, "step_results": run.step_results, "input": run.input}[part]
    taken = page(find(whole, given.path), given.path or "", given.offset, budget)
    note: JsonObject = {}
    if taken.next_offset is not None or given.offset:
        note = {"offset": given.offset, "total": taken.total}
    if taken.next_offset is not None:
        note["next"] = _call_form(run, part, given.path, taken.next_offset)
    if taken.hidden:
        note["inside"] = _call_form(run, part, taken.hidden[0], None)
    return taken.value, note


async def _rows(call: Call, run: Run, part: Include, given: GetRun, budget: int) -> tuple[Json, JsonObject]:
    engine = call.app.engine
    readers: dict[str, Callable[..., Awaitable[Sequence[Any]]]] = {
        "timeline": engine.timeline,
        "journal": engine.journal,
        "logs": engine.logs,
        "steps": engine.steps,
    }
    rows = await readers[part](run.id, after=given.offset, limit=ROWS)
    shown: list[JsonObject] = []
    left = budget
    for row in rows:
        described = _row(row)
        left -= size(described) + 1
        if left < 0 and shown:
            break
        shown.append(described)
    if len(shown) == len(rows) < ROWS:
        return shown, {}
    last = rows[len(shown) - 1]
    reached = getattr(last, "seq" if part in ("journal", "steps") else "n")
    return shown, {"offset": given.offset, "next": _call_form(run, part, None, reached)}


async def _spending(call: Call, run: Run) -> Json:
    """Return what models cost the run, by step, agent and model, and its session."""
    engine = call.app.engine
    found: JsonObject = {
        f"by_{by}": {name: spent_result(sums) for name, sums in (await engine.spent(by, run_id=run.id)).items()}
        for by in ("step", "agent", "model")
    }
    if run.session_id is not None:
        session = await engine.spent("model", session_id=run.session_id)
        found["session_by_model"] = {name: spent_result(sums) for name, sums in session.items()}
    return found


def _row(row: Any) -> JsonObject:
    fields: JsonObject = plain(dataclasses.asdict(row))
    return {name: _short(value) for name, value in fields.items() if value is not None}


def _short(value: Json, limit: int = ROW_TEXT) -> Json:
    if isinstance(value, str):
        return shorten(value, limit)
    if isinstance(value, (dict, list)) and size(value) > limit:
        return {"cut": shorten(dump(value), limit // 2)}
    return value


def _short_head(shown: JsonObject) -> JsonObject:
    if size(shown) <= HEAD_BYTES:
        return shown
    return {name: value if size(value) <= ROW_TEXT else _short(value) for name, value in shown.items()}


def _call_form(run: Run, part: Include, path: str | None, offset: int | None) -> str:
    extras = f", path={json.dumps(path)}" if path else ""
    extras += f", offset={offset}" if offset is not None else ""
    return f'get_run(run_id="{run.id}", include=["{part}"]{extras})'
