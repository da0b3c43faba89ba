"""A run started again as a new one: with the same input, and from a step on if asked for.

What a new run reuses is a prefix of the old one's order of deliveries: outcomes that were there before the step
began. Every such prefix is a journal from which the same code comes to the same calls; what was under way in other
branches when the step began is not in it, and is done anew. It ends before a consent that a person gave: that was
for the old run.
"""

import re
import secrets
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from stepwell.engine.border import plain
from stepwell.engine.dispatch import Dispatcher
from stepwell.engine.pages import StartOptions
from stepwell.engine.reopening import find_row
from stepwell.errors import Conflict, InvalidArguments
from stepwell.model import LIVE, JsonObject, RunStatus, Version
from stepwell.ports import WorkflowSource
from stepwell.store import forks, runs, timeline
from stepwell.store.database import Database
from stepwell.store.runs import NewRun, RunRow

AGAIN = re.compile(r"(.+)-retry-[0-9]+")
INNER = re.compile(r"[@!]")  # what follows in a key belongs to the call before it
ENDED_BADLY = (RunStatus.FAILED, RunStatus.DEAD, RunStatus.CANCELLED, RunStatus.REJECTED)
INHERITED = ("pool", "labels", "budget_usd")
STATE_WRITES = ("set", "swap", "delete", "clear")
MAX_ID = 128  # characters
MAX_NAMED = 20  # steps named in a hint
TRIES = 5  # at a free id, while others start runs again too


@dataclass(frozen=True, slots=True)
class Origin:
    """What a new run is made from."""

    row: RunRow
    version: Version
    from_step: str | None
    kept: tuple[int, ...]
    """Places of the entries (`seq`) that it reuses."""

    def options(self, given: StartOptions) -> JsonObject:
        """Return the `options` column of the new run."""
        inherited = {name: value for name, value in self.row.options.items() if name in INHERITED}
        asked: dict[str, Any] = {
            "pool": given.pool, "labels": given.labels or None, "budget_usd": given.budget_usd,
            "from_run": self.row.id, "from_step": self.from_step,
            # The code before the step must see the same time again.
            "clock_at": self.row.clock_at if self.from_step else None,
        }  # fmt: skip
        return inherited | {name: value for name, value in asked.items() if value is not None}


async def start_again(
    database: Database,
    workflows: WorkflowSource,
    dispatcher: Dispatcher,
    origin: Origin,
    options: StartOptions,
) -> str:
    """Start the new run; return its id. The same run_id or idempotency_key gives the same run.

    Raises:
        InvalidArguments, Conflict: see `Engine.start_again`.
    """
    await workflows.check(origin.version, plain(msgspec.json.decode(origin.row.input)))
    for _ in range(TRIES):
        known = await database.read(lambda c: _find_started(c, origin, options))
        if known is not None:
            return known
        run_id = options.run_id or await database.read(lambda c: _next_id(c, origin.row.id))
        run = NewRun(
            run_id, origin.row.workflow, origin.version.hash, origin.row.input,
            origin.row.seed if origin.from_step else secrets.token_hex(32), time.time(),
            session_id=options.session_id or origin.row.session_id, user_id=options.user_id or origin.row.user_id,
            idempotency_key=options.idempotency_key, options=origin.options(options),
        )  # fmt: skip
        if await dispatcher.start(run, lambda c, run_id=run_id: _fill(c, run_id, origin)):
            return run_id
    raise Conflict(f"run {origin.row.id} is started again by others at this moment", hint="Try again.")


async def find_origin(
    database: Database, workflows: WorkflowSource, run_id: str, *, name: str | None, from_step: str | None
) -> Origin:
    """Return what a new run is made from.

    Raises:
        NotFound: no such run, or its workflow was deleted.
        InvalidArguments: it is of another workflow, or has no such step.
        Conflict: it goes on, has completed, or its workflow has another version now.
    """
    row = await database.read(lambda c: find_row(c, run_id))
    if name is not None and name != row.workflow:
        raise InvalidArguments(f"run {run_id} is one of {row.workflow!r}, not of {name[:80]!r}")
    _check_status(row, from_step)
    # Ad hoc code has no name under which it could have changed.
    ad_hoc = row.workflow == runs.CODE_NAME
    version = await workflows.version(row.version) if ad_hoc else (await workflows.get(row.workflow)).version
    if from_step is None:
        return Origin(row, version, None, ())
    if version.hash != row.version:
        raise Conflict(
            f"{row.workflow!r} was changed since run {run_id}: it ran version {row.version[:12]}, the current one is "
            f"{version.hash[:12]}, and steps of other code cannot be reused",
            hint=f"resume_run(run_id={run_id!r}, version={version.hash[:12]!r}) goes on where both versions agree; "
            "from_run without from_step starts anew.",
        )
    return Origin(row, version, from_step, await database.read(lambda c: _find_prefix(c, run_id, from_step)))


def _check_status(row: RunRow, from_step: str | None) -> None:
    if row.status in LIVE:
        raise Conflict(
            f"run {row.id} is {row.status}; only a run that has ended is started again as a new one",
            hint=f"get_run(run_id={row.id!r}, wait_seconds=30) waits for its end, cancel_run ends it.",
        )
    if from_step is not None and row.unwinding is not None:
        raise Conflict(
            f"the steps of run {row.id} have been undone, so their results cannot be reused",
            hint="Leave from_step out to start anew with the same input.",
        )
    if from_step is None and row.status not in ENDED_BADLY:
        raise Conflict(
            f"run {row.id} is {row.status}; only one that did not complete is started again as it was",
            hint="Start a new run with its arguments, or name with from_step where the new run shall begin.",
        )


def _find_prefix(connection: sqlite3.Connection, run_id: str, step: str) -> tuple[int, ...]:
    entries = forks.list_outline(connection, run_id)
    steps = [entry for entry in entries if entry.kind == "step"]
    asked = [e for e in steps if e.key == step] or [e for e in steps if e.name == step]
    began = None if asked else forks.first_start(connection, run_id, step)  # one that was interrupted
    if not asked and began is None:
        names = list(dict.fromkeys(entry.name for entry in steps))[:MAX_NAMED]
        hint = f"It has: {', '.join(names)}." if names else "It has no steps; leave from_step out."
        raise InvalidArguments(f"run {run_id} has no step {step[:80]!r}", hint=hint)
    place = _outermost(asked[0].key) if asked else ""
    if began is None:
        began = min(entry.opened_at or 0.0 for entry in entries if _outermost(entry.key) == place)
    # A consent was for the old run, and what that kept in its own state is not in the new one's.
    stops = forks.list_consents(connection, run_id) | {_outermost(e.key) for e in entries if _writes_own_state(e)}
    kept: set[str] = set()
    for entry in sorted((e for e in entries if e.delivery), key=lambda e: e.delivery or 0):
        if entry.key == place or entry.key in stops or (entry.finished_at or 0.0) > began:
            break
        kept.add(entry.key)
    return tuple(entry.seq for entry in entries if _outermost(entry.key) in kept)


def _writes_own_state(entry: forks.Outline) -> bool:
    scope, _, act = entry.name.partition(".")
    return entry.kind == "state" and scope != "user" and act in STATE_WRITES


def _outermost(key: str) -> str:
    """Return the key of the call of the body that this one belongs to."""
    return INNER.split(key, maxsplit=1)[0]


def _next_id(connection: sqlite3.Connection, run_id: str) -> str:
    again = AGAIN.fullmatch(run_id)
    base = again[1] if again else run_id
    found = f"{base}-retry-{forks.last_retry(connection, base) + 1}"
    if len(found) > MAX_ID:
        raise InvalidArguments(f"{found!r} is too long for a run's id", hint="Give one of your own with run_id.")
    return found


def _find_started(connection: sqlite3.Connection, origin: Origin, options: StartOptions) -> str | None:
    row = None if options.run_id is None else runs.find_run(connection, options.run_id)
    if row is None and options.idempotency_key is not None:
        row = runs.find_by_idempotency(connection, origin.row.workflow, options.idempotency_key)
    if row is None:
        return None
    if (row.options.get("from_run"), row.options.get("from_step")) != (origin.row.id, origin.from_step):
        raise Conflict(
            f"run {row.id} has that run_id or idempotency_key and was started otherwise",
            hint="Use another one, or none.",
        )
    return row.id


def _fill(connection: sqlite3.Connection, run_id: str, origin: Origin) -> None:
    """Give the new run its part of the journal, and tell both timelines."""
    source = find_row(connection, origin.row.id)
    if source.status in LIVE or source.epoch != origin.row.epoch:
        raise Conflict(f"run {origin.row.id} went on meanwhile", hint="Try again when it has ended.")
    forks.copy_entries(connection, origin.row.id, run_id, origin.kept)
    if origin.from_step is not None:
        forks.pin_versions(connection, source, run_id)
    now = time.time()
    timeline.add_event(connection, run_id, now, "run.forked", {
        "from_run": origin.row.id, "from_step": origin.from_step, "reused": len(origin.kept),
    })  # fmt: skip
    timeline.add_event(connection, origin.row.id, now, "run.started_again", {"run_id": run_id})
