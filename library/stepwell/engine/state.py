"""`ctx.state`, `ctx.session.state`, `ctx.user.state`: small values that a run keeps by name.

A write and its entry in the journal are one transaction, so that a write happens once over all crashes.
"""

import hashlib
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from stepwell.engine.book import Book
from stepwell.engine.border import across_runs
from stepwell.engine.outcome import Answer, refuse
from stepwell.errors import ProtocolViolation
from stepwell.model import JsonObject
from stepwell.ports.frames import Call
from stepwell.store import state
from stepwell.store.database import Database
from stepwell.store.runs import RunRow
from stepwell.store.state import Place

MAX_KEY = 200  # characters
MAX_VALUE = 64 * 1024  # bytes of codec JSON
LARGEST = 4  # times MAX_VALUE: no larger value becomes a small one without the names of its classes
MAX_KEYS = 1000  # of one run, session or user
READS = ("get", "read", "keys")
WRITES = ("set", "swap", "delete", "clear")

Act = Callable[[sqlite3.Connection], Answer]


def session_of(run: RunRow) -> str:
    """Return the session of a run; one that was started without any is its own."""
    return run.session_id or run.id


def forget_run(connection: sqlite3.Connection, run: RunRow) -> None:
    """Forget what a run kept for itself."""
    state.clear_values(connection, Place("run", run.id))
    if run.session_id is None:
        state.clear_values(connection, Place("session", run.id))


async def answer_state(
    database: Database, book: Book, run: RunRow, call: Call, digest: str, given: JsonObject
) -> Answer:
    """Read or write, and journal it.

    Raises:
        ProtocolViolation: it is no call that an honest guest makes.
    """
    scope, _, act = call.name.partition(".")
    owners = {"run": run.id, "session": session_of(run), "user": run.user_id}
    if scope not in owners or act not in (*READS, *WRITES):
        raise ProtocolViolation(f"the guest asked for {call.name[:100]!r}, which no state has")
    owner = owners[scope]
    if owner is None:
        answer = refuse("RuntimeError", "this run has no user: start it with user_id=", "no_user")
    elif act not in ("clear", "keys") and not _is_key(given.get("key")):
        answer = refuse("ValueError", f"a key of state is text of 1 to {MAX_KEY} printable characters", "invalid_key")
    elif act in READS:
        answer = await database.read(_reading(act, Place(scope, owner), given))
    else:
        return await book.transact(call, digest, _writing(act, Place(scope, owner), given))
    book.settle(book.draft(call, digest), answer)
    return answer


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and 0 < len(key) <= MAX_KEY and key.isprintable()


def _reading(act: str, place: Place, given: JsonObject) -> Act:
    """`get` answers `[value]`, `read` `[token, value]`, both without a value where there is none."""

    def read(connection: sqlite3.Connection) -> Answer:
        if act == "keys":
            return Answer(msgspec.json.encode(state.list_keys(connection, place)))
        found = state.find_value(connection, place, given["key"])
        return _found(found) if act == "read" else Answer(msgspec.json.encode([] if found is None else [Raw(found)]))

    return read


def _writing(act: str, place: Place, given: JsonObject) -> Act:
    """`swap` answers null if the value was still the one of `token`, else what `read` would."""
    value = msgspec.json.encode(given.get("value"))
    if place.scope != "run" and len(value) <= LARGEST * MAX_VALUE:
        value = across_runs(value)  # other workflows have not got this one's classes
    now = time.time()

    def write(connection: sqlite3.Connection) -> Answer:
        match act:
            case "clear":
                state.clear_values(connection, place)
            case "delete":
                state.delete_value(connection, place, given["key"])
            case _:
                found = state.find_value(connection, place, given["key"])
                if act == "swap" and _token(found) != given.get("token"):
                    return _found(found)
                if (refusal := _refusal(connection, place, value, is_new=found is None)) is not None:
                    return refusal
                state.put_value(connection, place, given["key"], value, now)
        return Answer()

    return write


def _refusal(connection: sqlite3.Connection, place: Place, value: bytes, *, is_new: bool) -> Answer | None:
    if len(value) > MAX_VALUE:
        return refuse(
            "ValueError",
            f"the value has {len(value):,} bytes, state takes at most {MAX_VALUE:,}; keep it with artifacts.save() and "
            "its name in the state",
            "value_too_large",
        )
    if is_new and state.count_keys(connection, place) >= MAX_KEYS:
        return refuse(
            "ValueError",
            f"the state of this {place.scope} has {MAX_KEYS} keys, which is the most; delete() some, or keep a dict "
            "under one key",
            "too_many_keys",
        )
    return None


def _token(value: bytes | None) -> str:
    return "" if value is None else hashlib.blake2b(value, digest_size=12).hexdigest()


def _found(value: bytes | None) -> Answer:
    return Answer(msgspec.json.encode([_token(value)] if value is None else [_token(value), Raw(value)]))
