"""A run that did not complete, continued on another version of its workflow.

The new version is first replayed against the journal without effects. Where it leaves the journal, the journal is
cut: what lies beyond stays in it under other keys, and is not replayed any more. Effects beyond the cut have happened
all the same, so somebody must say what shall become of them.
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from stepwell.engine.book import was_in_doubt, was_made
from stepwell.engine.border import plain, show
from stepwell.engine.rehearsal import Rehearsal, rehearse
from stepwell.engine.reopening import reopen
from stepwell.engine.replaying import CUT
from stepwell.engine.services import Services
from stepwell.errors import Conflict, InvalidArguments
from stepwell.model import JsonObject, Version
from stepwell.ports import frames
from stepwell.store import emitted, family, forks, journal, runs, timeline
from stepwell.store.journal import Entry
from stepwell.store.runs import RunRow

MAX_LISTED = 20  # effects in an error
MAX_SHOWN = 160  # characters of one


@dataclass(frozen=True, slots=True)
class Cut:
    """What a version does not replay of a run's journal."""

    delivered: int
    """How many deliveries stay."""
    entries: tuple[Entry, ...]
    effects: tuple[Entry, ...]
    """Those that may have changed something outside."""


class _Preview(Exception):
    def __init__(self, entries: list[Entry]) -> None:
        super().__init__()
        self.entries = entries


async def continue_run(
    services: Services, row: RunRow, version: Version, decision: str | None, *, budget_usd: float | None, via: str
) -> None:
    """Make the run pending again, on `version`, with that budget if one is given.

    Raises:
        Conflict: the run goes on by itself, its end is final, the version fails on what is recorded, or effects lie
            beyond the point where they agree and `decision` does not say what to do with them.
        InvalidArguments: the run's inputs do not fit the version.
    """
    if decision not in (None, "retry", "value"):
        raise Conflict(f"with a version the decision is 'retry' or 'value', not {decision!r}")
    try:
        await services.workflows.check(version, plain(msgspec.json.decode(row.input)))
    except InvalidArguments as error:
        raise InvalidArguments(
            f"the inputs of run {row.id} do not fit version {version.hash[:12]}: {error.message}", hint=error.hint
        ) from error
    entries = await _reopened(services, row, via)
    rehearsal = await rehearse(services, row, version, entries)
    if isinstance(rehearsal.last, frames.Failed):
        error = rehearsal.last.error
        raise Conflict(
            f"version {version.hash[:12]} fails on what is recorded of run {row.id}: {error.type}: {error.message}"
            + (f" (line {error.line})" if error.line else ""),
            hint="Mend the version first; the run is as it was.",
        )
    cut = find_cut(services, entries, rehearsal)
    if cut.effects and decision is None:
        raise Conflict(_ask(row, version, cut.effects), hint=_HINT)

    def write(connection: sqlite3.Connection) -> None:
        now = runs.find_run(connection, row.id)
        if now is None or (now.status, now.epoch, now.version) != (row.status, row.epoch, row.version):
            raise Conflict(f"run {row.id} was resumed or discarded meanwhile", hint="Look at it again with get_run.")
        reopen(connection, now, via=via)
        _apply(connection, now, version, cut, decision)
        if budget_usd is not None:
            runs.set_budget(connection, row.id, budget_usd)

    await services.database.write(write)


_HINT = (
    "decision='value' uses their results where the version makes the same calls again; decision='retry' makes such "
    "calls again. What the version does not repeat stays done either way."
)


async def _reopened(services: Services, row: RunRow, via: str) -> list[Entry]:
    """Return the journal as it will be when the run is taken up again."""

    def preview(connection: sqlite3.Connection) -> None:
        reopen(connection, row, via=via)
        raise _Preview(journal.list_entries(connection, row.id))  # takes back what was written

    try:
        await services.database.write(preview)
    except _Preview as found:
        return found.entries
    raise AssertionError("a preview always ends by its exception")


def find_cut(services: Services, entries: Sequence[Entry], rehearsal: Rehearsal) -> Cut:
    """Return what lies beyond the point where a journal and a version agree."""
    if isinstance(rehearsal.last, frames.Rested):
        all_of_them = max((entry.delivery or 0 for entry in entries), default=0)
        return Cut(all_of_them, (), ())  # they agree in all that can be replayed now
    kept = {e.key for e in entries if e.delivery is not None and e.delivery <= rehearsal.delivered} | rehearsal.asked
    beyond = tuple(e for e in entries if not e.key.startswith(CUT) and not (kept & _places(e.key)))
    return Cut(rehearsal.delivered, beyond, tuple(entry for entry in beyond if _is_effect(services, entry)))


def _places(key: str) -> set[str]:
    """Return a key, and those of the steps and calls that it belongs to."""
    return {key} | {key[:n] for n, char in enumerate(key) if char in "@!"}


def _is_effect(services: Services, entry: Entry) -> bool:
    if entry.status not in ("ok", "open", "in_doubt") and not was_in_doubt(entry) and not was_made(entry):
        return False
    if entry.kind == "tool":
        spec = services.tools.find_tool(entry.name)
        return spec is None or not spec.read_only
    return entry.kind in ("child", "start", "act", "agent") and entry.name != "artifacts.save"


def _ask(row: RunRow, version: Version, effects: Sequence[Entry]) -> str:
    listed = "; ".join(_describe(entry) for entry in effects[:MAX_LISTED])
    more = f"; and {len(effects) - MAX_LISTED} more" if len(effects) > MAX_LISTED else ""
    return (
        f"version {version.hash[:12]} leaves the journal of run {row.id} before {len(effects)} "
        f"effect{'s' if len(effects) > 1 else ''} that happened: {listed}{more}"
    )


def _describe(entry: Entry) -> str:
    arguments = "" if entry.args is None else msgspec.json.encode(show(entry.args).value).decode()
    doubt = "" if entry.status == "ok" or was_made(entry) else " (its answer was lost or of no use)"
    return f"{entry.name} at {entry.key!r} {arguments}"[:MAX_SHOWN] + doubt


def _apply(connection: sqlite3.Connection, row: RunRow, version: Version, cut: Cut, decision: str | None) -> None:
    cuts = int(row.options.get("cuts", 0)) + bool(cut.entries)
    adopted = [*row.options.get("adopted", []), *([cuts] if decision == "value" and cut.effects else [])]
    options: JsonObject = row.options | {"cuts": cuts, "adopted": adopted}
    journal.drop_deliveries(connection, row.id, cut.delivered + 1)
    for entry in cut.entries:
        if entry.kind == "event":
            emitted.take_back(connection, row.id, entry.key)
    journal.cut_entries(connection, row.id, cuts, [entry.seq for entry in cut.entries])
    family.part_children(connection, row.id, [entry.key for entry in cut.entries if entry.kind == "child"])
    runs.set_version(connection, row.id, version.hash, options)
    forks.unpin_versions(connection, row.id)
    data: JsonObject = {
        "from": row.version[:12], "to": version.hash[:12], "cut": len(cut.entries),
        "effects": [_describe(entry) for entry in cut.effects[:MAX_LISTED]], "decision": decision,
    }  # fmt: skip
    timeline.add_event(connection, row.id, time.time(), "run.version", data)
