"""Calls whose answer was lost: what is asked about them, and what was decided."""

import sqlite3
import time

from stepwell.engine.outcome import Answer, encode_plain, refuse
from stepwell.engine.settling import settle
from stepwell.engine.waiting import Waiting, bound_digest
from stepwell.errors import Conflict
from stepwell.model import Json, JsonObject
from stepwell.ports import ToolSpec
from stepwell.ports.frames import Call
from stepwell.store import runs, timeline, waits
from stepwell.store.journal import Entry
from stepwell.store.runs import RunRow
from stepwell.store.waits import NewWait, WaitRow

IN_DOUBT = "in_doubt"  # the code of the failure of a call that was given up
DECISIONS = ("retry", "value", "fail")


def doubt_wait(run: RunRow, call: Call, digest: str, spec: ToolSpec | None, arguments: JsonObject) -> NewWait:
    """Return the question what became of a call; without `spec` its tool is gone."""
    key = f"{call.key}!doubt"
    request = {
        "prompt": f"{call.name} was called and its answer was lost. Did it happen?",
        "context": {"tool": call.name, "arguments": arguments},
    }
    until = None if spec is None or spec.ask_s is None else time.time() + spec.ask_s
    bound = bound_digest(run, key, call.label(digest))
    return NewWait(key, "in_doubt", call.name, request, bound, until)


async def until_settled(
    waits: Waiting, call: Call, entry: Entry, digest: str, spec: ToolSpec | None, arguments: JsonObject
) -> Answer | None:
    """Ask what became of a call; return the outcome that was decided on, None to make the call again."""
    waits.book.event("run.in_doubt", {"call": call.name, "key": call.key})
    wait = doubt_wait(waits.run, call, digest, spec, arguments)
    if spec is not None and spec.on_doubt == "fail":
        answer = answer_doubt(call.name, None, ", and the operator's rule is to fail")
    else:
        decision = await waits.until_decided(wait)
        waits.take(wait.key)
        answer = answer_doubt(call.name, decision)
    return None if answer is None else settle(waits.book, call, entry, answer)


def answer_doubt(tool: str, decision: JsonObject | None, why: str = "") -> Answer | None:
    """Return the outcome that was decided on, None for making the call again; without a decision it is given up."""
    chosen = (decision or {}).get("decision")
    if chosen == "retry":
        return None
    if chosen == "value":
        return Answer(encode_plain((decision or {}).get("value")))
    why = why or ("" if decision is not None else ", and nobody decided in time whether it happened")
    return refuse("ToolError", f"{tool} was given up: its answer was lost{why}", IN_DOUBT, tool=tool)


def settle_doubt(
    connection: sqlite3.Connection,
    row: RunRow,
    wait: WaitRow,
    decision: str | None,
    *,
    value: Json,
    digest: str | None,
    via: str,
) -> None:
    """Write a decision on a call in doubt, and wake the run.

    Raises:
        Conflict: it is no decision, came too late, or is about another call.
    """
    if decision not in DECISIONS:
        raise Conflict(
            f"run {row.id} does not know whether {wait.name!r} had its effect",
            hint="Find out, then resume_run with decision 'retry' (call it again), 'value' (it happened; give its "
            "result as value) or 'fail' (give the step up).",
        )
    if digest is not None and digest != wait.digest:
        raise Conflict(
            f"digest {digest[:40]!r} is not the one of {wait.key!r}: it is of another call",
            hint="Look at waiting_for again with get_run, and decide on what it shows now.",
        )
    now = time.time()
    if wait.until is not None and wait.until <= now:
        raise Conflict(f"{wait.key!r} of run {row.id} was given up, since nobody decided in time")
    record: JsonObject = {"decision": decision, "value": value, "via": via, "at": now}
    waits.decide_wait(connection, row.id, wait.key, record, now)
    data: JsonObject = {"key": wait.key, "kind": wait.kind, "decision": decision, "via": via}
    timeline.add_event(connection, row.id, now, "wait.decided", data)
    runs.wake_run(connection, row.id)
