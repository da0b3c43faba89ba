"""The operator's gate before a tool call: a person allows it, for this call or for more."""

import hashlib
import sqlite3
import time

from stepwell.engine.outcome import Answer, give
from stepwell.engine.waiting import CLIENT, Waiting, answer_approval, bound_digest
from stepwell.errors import Forbidden, InvalidArguments
from stepwell.model import JsonObject
from stepwell.ports import Gate, Subject
from stepwell.ports.frames import Call
from stepwell.store import grants
from stepwell.store.database import Database
from stepwell.store.grants import Grant
from stepwell.store.runs import RunRow
from stepwell.store.waits import NewWait, WaitRow

GATE = "!policy"
ONCE = "once"
SCOPES: tuple[JsonObject, ...] = (
    {"id": ONCE, "label": "This call only"},
    {"id": "run", "label": "Also the same in the rest of this run"},
    {"id": "workflow", "label": "Also the same in all runs of this version of the workflow"},
    {"id": "always", "label": "Also the same in all runs of every workflow"},
)


def gate_key(call: str, redirects: int = 0) -> str:
    """Return the key of the operator's gate before a call, or before its n-th redirect to a host that asks."""
    return f"{call}{GATE}{redirects or ''}"


def is_operators(key: str) -> bool:
    """Whether an approval is demanded by the operator, not by the workflow."""
    return GATE in key


async def pass_gate(
    database: Database, waits: Waiting, call: Call, digest: str, arguments: JsonObject, gate: Gate, redirects: int = 0
) -> Answer | None:
    """Return when the call may be made, None, or the refusal; what was decided is in the journal at `gate_key`."""
    book, run = waits.book, waits.run
    key = gate_key(call.key, redirects)
    bound = bound_digest(run, key, f"{call.label(digest)}\0{_binding(gate)}")
    done = book.entries.get(key)
    if done is not None and (done.status, done.kind, done.digest) == ("ok", "approval", bound):
        return None
    entry = done or book.draft(Call(0, key, "approval", call.name, call.args, call.step), bound)
    missing, used = await _look_up(database, run, gate)
    row = waits.rows.get(key)
    if not missing and (row is None or row.status != "decided" or row.digest != bound):
        if waits.rows.pop(key, None) is not None:
            waits.take(key)
        book.event("approval.covered", {"call": call.name, "key": call.key, "grants": used})
        book.settle(entry, give({"approved": True, "grants": used}))
        return None
    wait = _wait(run, key, call, arguments, gate, missing, bound)
    while True:
        decision = await waits.until_decided(wait)
        waits.take(key)
        if decision is None or decision.get("decision") != "approve" or not _is_old(decision, gate):
            break
        book.event("approval.expired", {"call": call.name, "key": call.key})
        # What was decided must be off the table before the same is asked again.
        await book.durable()
        wait = _wait(run, key, call, arguments, gate, missing, bound)
    answer = answer_approval(wait, decision)
    book.settle(entry, answer)
    return None if answer.failure is None else answer


def read_scope(wait: WaitRow, decision: str, scope: str, via: str) -> str:
    """Return for how much an approval counts.

    Raises:
        InvalidArguments: the wait has no such scope.
        Forbidden: only a person can decide that.
    """
    person = bool(wait.request.get("person"))
    if decision != "approve":
        # To leave a call of a tool out needs no authority.
        if via == CLIENT and person and not is_operators(wait.key):
            raise _for_a_person(wait)
        return ONCE
    scopes = [str(option["id"]) for option in wait.request.get("options", ())]
    if scope != ONCE and scope not in scopes:
        offered = f" One of: {', '.join(scopes)}." if scopes else " It is approved for itself only."
        raise InvalidArguments(f"{wait.key!r} cannot be approved for {scope[:40]!r}", hint=offered.strip())
    if via == CLIENT and (scope != ONCE or person):
        raise _for_a_person(wait)
    return scope


def _for_a_person(wait: WaitRow) -> Forbidden:
    return Forbidden(
        f"{wait.key!r} of run {wait.run_id} is for a person to decide: the operator's policy demands it, or it is "
        "about more than one call or a host that is not on the operator's list",
        hint=f"Tell the user to decide in a terminal: stepwell approve {wait.run_id} (or reject, answer).",
    )


def keep_grants(connection: sqlite3.Connection, row: RunRow, wait: WaitRow, decision: JsonObject) -> None:
    """Store what an approval allows beyond its call."""
    context: JsonObject = wait.request.get("context") or {}
    for subject in wait.request.get("subjects", ()):
        grant = Grant(
            0, subject["kind"], subject["name"], subject["detail"], context.get("arguments", {}), decision["scope"],
            row.id, row.workflow, row.version, decision["reviewer"], decision["via"], decision["at"],
        )  # fmt: skip
        grants.add_grant(connection, grant)


def _wait(
    run: RunRow, key: str, call: Call, arguments: JsonObject, gate: Gate, missing: list[Subject], digest: str
) -> NewWait:
    hosts = [subject.name for subject in missing if subject.kind == "host"]
    context: JsonObject = {
        "workflow": run.workflow,
        "version": run.version[:12],
        "step": call.step or None,
        "tool": call.name,
        "arguments": arguments,
    }
    request: JsonObject = {
        "prompt": gate.prompt,
        "context": context | ({"hosts": hosts} if hosts else {}),
        "options": list(SCOPES),
        "subjects": [{"kind": s.kind, "name": s.name, "detail": s.detail} for s in missing],
        "person": gate.person or bool(hosts),
    }
    until = None if gate.ask_s is None else time.time() + gate.ask_s
    return NewWait(key, "approval", call.name, request, digest, until)


async def _look_up(database: Database, run: RunRow, gate: Gate) -> tuple[list[Subject], list[int]]:
    """Return what no grant covers, and the grants that cover the rest."""

    def look(connection: sqlite3.Connection) -> list[int | None]:
        return [
            grants.find_grant(
                connection, s.kind, s.name, s.detail, run_id=run.id, workflow=run.workflow, version=run.version
            )
            for s in gate.subjects
        ]

    found = await database.read(look)
    missing = [subject for subject, grant in zip(gate.subjects, found, strict=True) if grant is None]
    return missing, [grant for grant in found if grant is not None]


def _binding(gate: Gate) -> str:
    named = "\0".join(f"{subject.kind} {subject.name} {subject.detail}" for subject in gate.subjects)
    if gate.person:
        named += "\0person"  # what a client has approved is void once a person is demanded
    return hashlib.sha256(named.encode()).hexdigest()


def _is_old(decision: JsonObject, gate: Gate) -> bool:
    given = decision.get("at")
    return gate.use_s is not None and isinstance(given, float) and time.time() - given > gate.use_s
