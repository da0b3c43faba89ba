"""Calls that wait: timers, people, events, children. Each is a row that any process can decide."""

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from stepwell.engine.alarms import Alarms
from stepwell.engine.book import Book
from stepwell.engine.emitting import give
from stepwell.engine.ending import decide_for_ended_child
from stepwell.engine.outcome import Answer, refuse
from stepwell.engine.outcome import give as answer_with
from stepwell.model import Json, JsonObject
from stepwell.model.text import clean_text
from stepwell.ports.frames import Call
from stepwell.store import emitted, waits
from stepwell.store.database import Database
from stepwell.store.journal import Entry
from stepwell.store.runs import RunRow
from stepwell.store.waits import NewWait, WaitRow

MAX_PROMPT = 4000  # characters
LONGEST_S = 3.2e9  # of a wait
CLIENT = "client"  # the way of a decision that a client passes on without asking its user by a form
FOUND_AT_ONCE = 8  # rows of one run that are read at one time: what follows for each is work of the event loop

Decided = asyncio.Future[JsonObject | None]


@dataclass(slots=True)
class Waiting:
    """The open waits of one live run."""

    run: RunRow
    database: Database
    book: Book
    rows: dict[str, WaitRow]
    """Waits that were there when the run was taken up."""
    dropped: set[str]
    """Waits that an earlier attempt gave up, which this one will give up again when it has come so far."""
    person: bool
    """Whether only a person decides what the workflow asks."""
    changed: Callable[[], None] = lambda: None
    """Called when a wait has been opened, after which the run may be able to pause, or is over."""
    held: set[str] = field(default_factory=set[str])
    """Open waits of calls that are under way: the run keeps its process."""
    open: dict[str, NewWait] = field(default_factory=dict[str, NewWait])
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _decisions: dict[str, Decided] = field(default_factory=dict[str, Decided])
    _alarms: Alarms = field(default_factory=Alarms)
    _finding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FOUND_AT_ONCE))

    async def until_decided(self, wait: NewWait) -> JsonObject | None:
        """Open the wait, or go on with the one of an earlier attempt; return the decision, None at its deadline."""
        row = self.rows.pop(wait.key, None)
        wait = self._for_whom(wait, row)
        if row is not None and row.digest != wait.digest and (row.digest or wait.kind != "input"):
            # It is about something else, and so is its decision. Stores of before have questions without a digest.
            row = None
        if row is not None and row.status in ("open", "decided"):
            wait = NewWait(wait.key, wait.kind, wait.name, row.request, row.digest, row.until)
        decided: Decided = asyncio.get_running_loop().create_future()
        if row is not None and row.status == "decided" and row.decision is not None:
            decided.set_result(row.decision)
        if row is None or row.status not in ("open", "decided"):
            await self._while_dropped(wait)
            self._store(wait)
        self.open[wait.key] = wait
        self._decisions[wait.key] = decided
        self.changed()
        try:
            decision = await self._before_deadline(wait, decided)
        finally:
            self.open.pop(wait.key, None)
            self._decisions.pop(wait.key, None)
            self.changed()
        return None if decision == waits.EXPIRED else decision

    def _for_whom(self, wait: NewWait, row: WaitRow | None) -> NewWait:
        """Note who decides, in what binds the decision too; a gate of the operator says so itself.

        Where a process has asked a person, one that goes on under a laxer rule does not take that back. Where a
        person has decided before one was demanded, that counts.
        """
        if wait.kind not in ("approval", "input") or "person" in wait.request:
            return wait
        asked = row is not None and row.request.get("person")
        decided = row is not None and row.decision is not None and row.decision.get("via") != CLIENT
        if not asked and (decided or not self.person):
            return wait
        digest = hashlib.sha256(f"{wait.digest}\0person".encode()).hexdigest()[:12]
        return replace(wait, request=wait.request | {"person": True}, digest=digest)

    async def until_given(self, wait: NewWait, look: Callable[[sqlite3.Connection], object]) -> JsonObject | None:
        """Like `until_decided`, for what may have come before there was a wait for it.

        `look` decides the wait if so, in the transaction that opens it.
        """
        if wait.key not in self.rows:
            await self._while_dropped(wait)
            self._store(wait)
            self.book.write(look)
            await self.book.durable()
            self.rows[wait.key] = await self.find(wait.key)
        return await self.until_decided(wait)

    async def until_child(self, wait: NewWait) -> JsonObject:
        """Return how a child ended."""
        now = time.time()
        return await self.until_given(wait, lambda c: decide_for_ended_child(c, self.run.id, wait.key, now)) or {}

    async def until_event(self, wait: NewWait) -> JsonObject | None:
        """Return the oldest event that the run has not had, None at the deadline."""
        now = time.time()
        return await self.until_given(wait, lambda c: give(c, self.run.id, wait.name, now))

    async def _while_dropped(self, wait: NewWait) -> None:
        """Let the replay come to where an earlier attempt gave the wait up; its task is cancelled there."""
        if wait.key in self.dropped:
            self.open[wait.key] = NewWait(wait.key, wait.kind, wait.name)
            self.changed()
            await self._wanted.wait()
            self.dropped.discard(wait.key)

    def keeps_dropped(self) -> bool:
        """Whether waits are asked for that an earlier attempt gave up; now that nothing runs they are opened."""
        kept = bool(self.dropped & self.open.keys())
        if kept:
            self._wanted.set()
        return kept

    async def _before_deadline(self, wait: NewWait, decided: Decided) -> JsonObject | None:
        if wait.until is not None and not decided.done():
            self._alarms.add(wait.until, decided)
        decision = await decided
        if decision is not None or wait.kind == "timer":
            return decision
        # Who is faster decides: one who was told that his answer is taken, or the deadline. Both are on disk.
        now = time.time()
        self.book.write(lambda c: waits.expire_wait(c, self.run.id, wait.key, now))
        await self.book.durable()
        return (await self.find(wait.key)).decision

    async def find(self, key: str) -> WaitRow:
        """Return the row of a wait that is stored."""
        async with self._finding:
            row = await self.database.read(lambda c: waits.find_wait(c, self.run.id, key))
        assert row is not None
        return row

    def decide(self, row: WaitRow) -> bool:
        """Take a decision that has come; whether it is on a wait that is open."""
        wait = self.open.get(row.key)
        # That it was used may still be on its way to the store, or that something else is asked at its place.
        if wait is None or wait.digest != row.digest:
            return False
        future = self._decisions.get(row.key)
        if future is not None and not future.done():
            future.set_result(row.decision or {})
        return True

    def void(self, call: Call) -> None:
        """Nobody waits for the call any more."""
        self.open.pop(call.key, None)  # now, not when its task has seen its cancellation
        self.book.write(lambda c: waits.void_waits(c, self.run.id, call.key))
        self._give_again(call.kind, call.name)

    def untaken(self, entry: Entry) -> None:
        """The outcome of an event's wait came too late for the workflow: another wait gets the event."""
        self.book.write(lambda c: emitted.take_back(c, self.run.id, entry.key))
        self._give_again(entry.kind, entry.name)

    def _give_again(self, kind: str, name: str) -> None:
        if kind == "event":
            now = time.time()
            self.book.write(lambda c: give(c, self.run.id, name, now))

    def take(self, key: str) -> None:
        """Use the decision up, in the same transaction as what follows from it."""
        self.book.write(lambda c: waits.take_wait(c, self.run.id, key))

    def _store(self, wait: NewWait) -> None:
        now = time.time()

        def write(connection: sqlite3.Connection) -> None:
            waits.open_wait(connection, self.run.id, wait, now)

        self.book.write(write)
        shown = {name: wait.request[name] for name in ("prompt", "input_type") if wait.request.get(name)}
        until: JsonObject = {} if wait.until is None else {"until": wait.until}
        self.book.event("wait.opened", {"kind": wait.kind, "key": wait.key, "name": wait.name} | shown | until)


def timer_wait(key: str, name: str, kwargs: JsonObject, delay_s: float) -> NewWait:
    """Return the wait of `ctx.sleep`, `ctx.sleep_until` or a deadline."""
    until = kwargs.get("until")
    if until is None:
        until = time.time() + _number(kwargs.get("seconds"), delay_s)
    return NewWait(key, "timer", name, {}, until=_moment(_number(until, time.time())))


def input_wait(key: str, name: str, label: str, kwargs: JsonObject) -> NewWait:
    """Return the wait of `ctx.wait_for_user`, bound to the question: another version may ask the same."""
    request = {
        "prompt": _text(kwargs.get("prompt", ""), MAX_PROMPT),
        "input_type": kwargs.get("input_type", "text"),
        "options": _options(kwargs),
        "allow_custom": bool(kwargs.get("allow_custom")),
        "skippable": bool(kwargs.get("skippable")),
    }
    digest = hashlib.sha256(f"{key}\0{label}".encode()).hexdigest()[:12]
    return NewWait(key, "input", name, request, digest, _deadline(kwargs))


def approval_wait(run: RunRow, key: str, name: str, label: str, kwargs: JsonObject) -> NewWait:
    """Return the wait of an approval, bound to run, version, call and arguments."""
    request = {
        "prompt": _text(kwargs.get("prompt") or f"Approve {name}?", MAX_PROMPT),
        "context": kwargs.get("context"),
    }
    return NewWait(key, "approval", name, request, bound_digest(run, key, label), _deadline(kwargs))


def bound_digest(run: RunRow, key: str, label: str) -> str:
    """Return what binds a decision to run, version, call and arguments."""
    return hashlib.sha256("\0".join((run.id, run.version, key, label)).encode()).hexdigest()[:12]


def event_wait(key: str, name: str, kwargs: JsonObject) -> NewWait:
    """Return the wait of `ctx.wait_for_event`."""
    return NewWait(key, "event", name, {"prompt": f"Waits for the event {name!r}"}, until=_deadline(kwargs))


def answer_timer(_: NewWait, __: JsonObject | None) -> Answer:
    """A timer has fired."""
    return answer_with(None)


def answer_input(wait: NewWait, decision: JsonObject | None) -> Answer:
    """A person has answered, or nobody in time."""
    if decision is None:
        return refuse("TimeoutError", f"nobody answered {wait.request.get('prompt', wait.name)!r} in time", "expired")
    return answer_with(decision.get("value"))


def answer_approval(wait: NewWait, decision: JsonObject | None) -> Answer:
    """A person has approved or rejected, or nobody in time."""
    if decision is None:
        reason = "nobody approved it in time"
        return refuse("ApprovalDenied", f"{wait.name}: {reason}", "expired", reason=reason, reviewer="")
    reviewer, reason = str(decision.get("reviewer") or ""), str(decision.get("reason") or "")
    if decision.get("decision") == "approve":
        return answer_with({"approved": True, "reviewer": reviewer, "reason": reason})
    message = f"{wait.name} was rejected" + (f": {reason}" if reason else "")
    return refuse("ApprovalDenied", message, "rejected", reason=reason, reviewer=reviewer)


def answer_event(wait: NewWait, decision: JsonObject | None) -> Answer:
    """An event has come, or none in time."""
    if decision is None:
        return refuse("TimeoutError", f"the event {wait.name!r} did not come in time", "expired")
    return answer_with(decision.get("value"))


def _deadline(kwargs: JsonObject) -> float | None:
    timeout = kwargs.get("timeout")
    return None if timeout is None else _moment(time.time() + _number(timeout, 0.0))


def _number(value: Json, default: float) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def _moment(at: float) -> float:
    """Return unix seconds that have a date: not before 1970 and no more than a hundred years away."""
    return min(max(at, 0.0), time.time() + LONGEST_S)


def _options(kwargs: JsonObject) -> list[JsonObject]:
    options = kwargs.get("options")
    given: list[Any] = options if isinstance(options, list) else []
    if not given and kwargs.get("input_type") == "approval":
        return [{"id": "approve", "label": "Approve"}, {"id": "reject", "label": "Reject"}]
    return [_option(option) for option in given[:200]]


def _option(option: Any) -> JsonObject:
    if isinstance(option, dict):
        ident = _text(option.get("id", option.get("value", option.get("label", ""))), 200)
        return {"id": ident, "label": _text(option.get("label", ident), 400)}
    return {"id": _text(option, 200), "label": _text(option, 400)}


def _text(value: Any, limit: int) -> str:
    # A person decides by it: nothing in it may hide or move text on a terminal.
    return clean_text(str(value)[:limit])
