"""Decisions of people and clients on runs: approve, answer, resume, cancel."""

import json
import sqlite3
import time

from stepwell.engine.doubting import settle_doubt
from stepwell.engine.ending import end_run
from stepwell.engine.gating import ONCE, keep_grants, read_scope
from stepwell.engine.reopening import find_row, reopen
from stepwell.engine.verdict import End, end_data, read_end, write_end
from stepwell.engine.view import dump_error
from stepwell.errors import Conflict, InvalidArguments
from stepwell.model import LIVE, Json, JsonObject, RunStatus
from stepwell.store import claims, family, journal, runs, timeline, waits, workers
from stepwell.store.runs import RunRow
from stepwell.store.waits import WaitRow

MAX_TEXT = 4000  # characters of a reason or an answer
HINTS = {
    "approval": "approve_run decides it.",
    "input": "approve_run with decision='answer' answers it.",
    "event": "emit_event sends what it waits for.",
    "in_doubt": "resume_run decides it: 'retry', 'value' or 'fail'.",
}


def decide(
    connection: sqlite3.Connection,
    run_id: str,
    decision: str,
    *,
    value: Json,
    key: str | None,
    digest: str | None,
    reason: str,
    reviewer: str,
    scope: str,
    via: str,
) -> None:
    """Write a decision on one open gate or question of a run, and wake the run.

    Raises:
        NotFound: no such run.
        Conflict: nothing is open, several are and no key was given, or the digest is of something else.
        InvalidArguments: the answer, or the scope of the approval, does not fit the question.
        Forbidden: only a person can decide that.
    """
    row = find_row(connection, run_id)
    wait = _pick(connection, row, key, decision)
    if digest is not None and digest != wait.digest:
        raise Conflict(
            f"digest {digest[:40]!r} is not the one of {wait.key!r}: what it asks for has changed, or is another call",
            hint="Look at waiting_for again with get_run, and decide on what it shows now.",
        )
    given = _answer(wait, decision, value)
    scope = read_scope(wait, decision, scope, via)
    now = time.time()
    if wait.until is not None and wait.until <= now:
        raise Conflict(
            f"{wait.key!r} of run {run_id} expired at {time.strftime('%H:%M:%S UTC', time.gmtime(wait.until))}"
        )
    record: JsonObject = given | {"reason": reason[:MAX_TEXT], "reviewer": reviewer[:200], "via": via, "at": now}
    if scope != ONCE:
        record["scope"] = scope
        keep_grants(connection, row, wait, record)
    waits.decide_wait(connection, run_id, wait.key, record, now)
    shown = {name: record[name] for name in ("decision", "scope", "reason", "reviewer", "via") if record.get(name)}
    timeline.add_event(connection, run_id, now, "wait.decided", {"key": wait.key, "kind": wait.kind} | shown)
    runs.wake_run(connection, run_id)


def resume(
    connection: sqlite3.Connection,
    run_id: str,
    decision: str | None,
    *,
    value: Json,
    key: str | None = None,
    digest: str | None = None,
    budget_usd: float | None = None,
    via: str,
) -> None:
    """Let a failed, cancelled or dead run go on from its journal, or decide on a call in doubt.

    Raises:
        NotFound: no such run.
        Conflict: the run is in no state for that.
    """
    row = find_row(connection, run_id)
    if budget_usd is not None:
        runs.set_budget(connection, run_id, budget_usd)
    if decision == "discard":
        _discard(connection, row, via)
        return
    doubts = [wait for wait in waits.list_waits(connection, run_id, "open") if wait.kind == "in_doubt"]
    if key is not None:
        doubts = [wait for wait in doubts if wait.key == key]
        if not doubts:
            raise _not_open(connection, row, key)
    if doubts:
        settle_doubt(connection, row, doubts[0], decision, value=value, digest=digest, via=via)
        return
    if decision not in (None, "retry"):
        raise Conflict(f"run {run_id} has no call in doubt, so {decision!r} says nothing", hint="Leave decision out.")
    reopen(connection, row, via=via)


def ask_cancel(connection: sqlite3.Connection, run_id: str, reason: str) -> bool:
    """End a run that nobody holds, or ask its holder to; whether the run was live.

    Raises:
        NotFound: no such run.
    """
    row = find_row(connection, run_id)
    if row.status not in LIVE:
        return False
    reason = reason[:MAX_TEXT]
    if row.status is RunStatus.RUNNING:
        runs.ask_cancel(connection, run_id, reason)
        return True
    end = End(RunStatus.CANCELLED, reason=reason or "the run was cancelled")
    if row.unwinding is None and journal.has_undo(connection, run_id):
        begin_unwinding(connection, run_id, end)
        runs.wake_run(connection, run_id)
        return True
    if row.unwinding is not None:
        end = read_end(row.unwinding)  # what is not undone yet stays
    error = None if end.error is None else dump_error(end.error)
    end_run(connection, row, end.status, time.time(), error=error, reason=end.reason, data=end_data(end))
    cancel_children(connection, run_id, f"its parent {run_id} ended as {end.status}")
    return True


def begin_unwinding(connection: sqlite3.Connection, run_id: str, end: End) -> None:
    """Note that a run ends so once its steps are undone; what it has started ends now."""
    runs.unwind_run(connection, run_id, write_end(end))
    timeline.add_event(connection, run_id, time.time(), "run.unwinding", {"status": end.status} | end_data(end))
    cancel_children(connection, run_id, f"its parent {run_id} ends as {end.status}")


def cancel_children(connection: sqlite3.Connection, run_id: str, reason: str) -> list[str]:
    """End the live children of a run that ends; return them."""
    children = family.list_children(connection, run_id)
    for child in children:
        ask_cancel(connection, child, reason)
    return children


def end_as_dead(connection: sqlite3.Connection, row: RunRow, now: float) -> None:
    """Set a run aside that every holder died with."""
    end_run(connection, row, RunStatus.DEAD, now)
    cancel_children(connection, row.id, f"its parent {row.id} ended as dead")


def give_back(connection: sqlite3.Connection, row: RunRow, now: float) -> None:
    """Let a run be tried again, or set it aside after too many tries without progress."""
    found = runs.find_run(connection, row.id)
    if found is not None and found.crashes + 1 >= workers.MAX_CRASHES:
        end_as_dead(connection, found, now)
    else:
        claims.release_run(connection, row.id, now)


def _pick(connection: sqlite3.Connection, row: RunRow, key: str | None, decision: str) -> WaitRow:
    open_waits = [w for w in waits.list_waits(connection, row.id, "open") if w.kind in ("approval", "input")]
    if key is not None:
        named = next((wait for wait in open_waits if wait.key == key), None)
        if named is None:
            raise _not_open(connection, row, key)
        return named
    if not open_waits:
        raise Conflict(
            f"run {row.id} {_stands(row)} and waits for no approval or answer",
            hint=f"get_run(run_id={row.id!r}) shows where it stands.",
        )
    fitting = [wait for wait in open_waits if (wait.kind == "approval") == (decision != "answer")]
    if len(open_waits) > 1 and len(fitting) != 1:
        keys = ", ".join(repr(wait.key) for wait in open_waits)
        raise Conflict(f"run {row.id} waits for several: {keys}", hint="Give the key of the one you mean.")
    return (fitting or open_waits)[0]


def _not_open(connection: sqlite3.Connection, row: RunRow, key: str) -> Conflict:
    """Return why nothing can be decided at a key."""
    wait = waits.find_wait(connection, row.id, key)
    if row.status not in LIVE and (wait is None or wait.status == "void"):
        return Conflict(f"run {row.id} {_stands(row)}: {key[:80]!r} waits for nothing any more")
    decision = {} if wait is None or wait.decision is None else wait.decision
    if wait is None or wait.status == "void":
        keys = ", ".join(repr(w.key) for w in waits.list_waits(connection, row.id, "open")) or "nothing"
        return Conflict(f"run {row.id} does not wait for {key[:80]!r}", hint=f"It waits for {keys}.")
    if wait.status == "open":
        return Conflict(f"{key!r} of run {row.id} is a wait of the kind {wait.kind}", hint=HINTS.get(wait.kind, ""))
    if decision == waits.EXPIRED:
        return Conflict(f"{key!r} of run {row.id} expired: nobody decided in time")
    who = " by ".join(str(decision[name]) for name in ("decision", "reviewer") if decision.get(name))
    via = f", via {decision['via']}" if decision.get("via") else ""
    return Conflict(f"{key!r} of run {row.id} has been decided already ({who}{via})", hint="Nothing more to do for it.")


def _stands(row: RunRow) -> str:
    return f"is {row.status}" if row.status in LIVE else f"has ended as {row.status}"


def _answer(wait: WaitRow, decision: str, value: Json) -> JsonObject:
    if wait.kind == "approval":
        if decision == "answer":
            raise InvalidArguments(f"{wait.key!r} asks for an approval", hint="Use decision 'approve' or 'reject'.")
        return {"decision": decision}
    if decision in ("approve", "reject") and value is None:
        value = decision
    return {"decision": "answer", "value": check_answer(wait.request, value)}


def check_answer(request: JsonObject, value: Json) -> Json:
    """Return the answer as the workflow gets it.

    Raises:
        InvalidArguments: it is none of the options; the message names them.
    """
    kind, options = request.get("input_type", "text"), [str(option["id"]) for option in request.get("options", ())]
    if value is None:
        if request.get("skippable"):
            return None
        raise InvalidArguments("the question needs an answer", hint="Give value." + _choices(options))
    if kind == "multiselect":
        chosen = value if isinstance(value, list) else [part.strip() for part in str(value).split(",") if part.strip()]
        return [_option(str(item), options, request) for item in chosen]
    if not isinstance(value, str):
        value = json.dumps(value)
    if len(value) > MAX_TEXT:
        raise InvalidArguments(f"the answer has {len(value)} characters, at most {MAX_TEXT} are taken")
    return value if kind == "text" else _option(value, options, request)


def _option(value: str, options: list[str], request: JsonObject) -> str:
    if value in options or request.get("allow_custom") or not options:
        return value
    for option in request.get("options", ()):
        if value.casefold() == str(option["label"]).casefold():
            return str(option["id"])
    raise InvalidArguments(f"{value[:80]!r} is none of the options", hint=_choices(options).strip())


def _choices(options: list[str]) -> str:
    return f" One of: {', '.join(options)}." if options else ""


def _discard(connection: sqlite3.Connection, row: RunRow, via: str) -> None:
    if row.status not in (RunStatus.DEAD, RunStatus.FAILED, RunStatus.IN_DOUBT):
        raise Conflict(f"run {row.id} is {row.status}; only failed, dead or doubtful runs are discarded")
    now = time.time()
    end_run(connection, row, RunStatus.CANCELLED, now, error=row.error, reason="discarded", data={"via": via})
    cancel_children(connection, row.id, f"its parent {row.id} was discarded")
