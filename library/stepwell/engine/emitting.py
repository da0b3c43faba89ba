"""Events on their way to the runs that wait for them.

The log is the truth: whoever may have something to be given looks into it, in one transaction with what changed. An
event for very many runs is given in portions; how far it is stands in the log, so that any process can go on with it.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stepwell.engine.pages import Emitted
from stepwell.engine.reopening import find_row
from stepwell.errors import Conflict, InvalidArguments
from stepwell.model import LIVE, Json
from stepwell.model.aside import LARGE, Aside
from stepwell.store import emitted, runs, timeline
from stepwell.store.database import Database
from stepwell.store.emitted import EmittedRow

MAX_NAME = 200  # characters
MAX_PAYLOAD = 1024 * 1024  # bytes of JSON; each wait that is given the event keeps a copy until it takes it
PORTION = 1000  # runs in one transaction, fewer if the payload is large
PORTION_BYTES = 8 * 1024 * 1024
SENDING_S = 10.0  # an event younger than this is left to its sender
MAX_LISTED = 1000  # runs named in an answer


@dataclass(frozen=True, slots=True)
class _Portion:
    """What one transaction has done for an event."""

    given: Sequence[str]
    """Runs whose waits were given something."""
    finished: bool
    duplicate: bool = False


async def emit(
    database: Database,
    changed: Callable[[str], None],
    name: str,
    payload: Json,
    *,
    event_id: str | None,
    run_id: str | None,
) -> Emitted:
    """Store an event and give it to the runs that wait for it; `changed` is called for each of them.

    Raises:
        InvalidArguments: the name or the payload is too long.
        NotFound: there is no such run.
        Conflict: the run has ended, or the id was used for another event.
    """
    size = await Aside().run(LARGE if isinstance(payload, dict | list) else 0, _check, name, payload)
    ident = event_id or f"e-{uuid.uuid4().hex[:12]}"
    event = EmittedRow(0, ident, name, run_id, payload, "" if run_id is None else None)
    first = portion = await database.write(lambda c: _send(c, event, _portion_runs(size)))
    delivered: list[str] = []
    count = 0
    while True:
        for receiver in portion.given:
            changed(receiver)
        count += len(portion.given)
        delivered += portion.given[: MAX_LISTED - len(delivered)]
        if portion.finished:
            return Emitted(ident, tuple(delivered), count, first.duplicate)
        portion = await database.write(lambda c: _deliver(c, ident, _portion_runs(size)))


async def finish_deliveries(database: Database, changed: Callable[[str], None]) -> None:
    """Go on with events whose sender died before all that wait had them."""
    now = time.time()
    for ident in await database.read(lambda c: emitted.list_unfinished(c, now - SENDING_S, now + SENDING_S)):
        finished = False
        while not finished:
            portion = await database.write(lambda c, ident=ident: _deliver(c, ident, PORTION // 10))
            finished = portion.finished
            for receiver in portion.given:
                changed(receiver)


def give(connection: sqlite3.Connection, run_id: str, name: str, now: float) -> bool:
    """Give a run what it has not had of a name, and wake it; whether there was something."""
    given = emitted.give(connection, run_id, name, now)
    for item in given:
        data = {"key": item.key, "kind": "event", "event": name, "event_id": item.event_id}
        timeline.add_event(connection, run_id, now, "wait.decided", data)
    if given:
        runs.wake_run(connection, run_id)
    return bool(given)


def _send(connection: sqlite3.Connection, event: EmittedRow, limit: int) -> _Portion:
    known = emitted.find_event(connection, event.id)
    if known is not None:
        if _meaning(known) != _meaning(event):
            raise Conflict(
                f"event_id {event.id[:80]!r} was used for the event {known.name!r} "
                f"{'' if known.run_id is None else f'to run {known.run_id} '}with "
                f"{'another' if known.name == event.name else 'its own'} payload or receiver",
                hint="The same id is the same event. Use another id, or none.",
            )
        return _Portion((), finished=known.reached is None, duplicate=True)
    now = time.time()
    if event.run_id is None:
        emitted.put_event(connection, event, now)
        return _deliver(connection, event.id, limit)
    row = find_row(connection, event.run_id)
    if row.status not in LIVE:
        raise Conflict(
            f"run {row.id} has ended as {row.status}, so it takes no event {event.name!r}",
            hint="Start a new run, or resume_run it first if it failed or was cancelled.",
        )
    emitted.put_event(connection, event, now)
    return _Portion((row.id,) if give(connection, row.id, event.name, now) else (), finished=True)


def _deliver(connection: sqlite3.Connection, event_id: str, limit: int) -> _Portion:
    """Give an event to the next runs that wait for one of its name."""
    event = emitted.find_event(connection, event_id)
    if event is None or event.reached is None:
        return _Portion((), finished=True)  # another process was faster
    waiting = emitted.list_waiting_runs(connection, event.name, event.reached, limit)
    now = time.time()
    given = [run_id for run_id in waiting if give(connection, run_id, event.name, now)]
    finished = len(waiting) < limit
    # Waits that are opened behind this place look into the log themselves.
    emitted.note_reached(connection, event.seq, None if finished else waiting[-1])
    return _Portion(given, finished)


def _portion_runs(size: int) -> int:
    return max(1, min(PORTION, PORTION_BYTES // max(1, size)))


def _check(name: str, payload: Json) -> int:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidArguments(f"an event's name is text of 1 to {MAX_NAME} printable characters")
    try:
        size = len(json.dumps(payload, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArguments(f"the payload is no JSON: {error}") from error
    if size > MAX_PAYLOAD:
        raise InvalidArguments(
            f"the payload of the event {name!r} has {size} bytes, at most {MAX_PAYLOAD} are taken",
            hint="Save it as an artifact and send its name.",
        )
    return size


def _meaning(event: EmittedRow) -> tuple[str, str | None, str]:
    return event.name, event.run_id, json.dumps(event.payload, sort_keys=True)
