"""What the engine returns besides runs."""

import base64
import json
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from typing import Any

from stepwell.errors import InvalidArguments
from stepwell.model import Json, JsonObject


@dataclass(frozen=True, slots=True)
class StartOptions:
    """How a run is started."""

    run_id: str | None = None
    """A known id gives that run back, if workflow and arguments are the same."""
    session_id: str | None = None
    user_id: str | None = None
    idempotency_key: str | None = None
    """The same key for the same workflow starts once."""
    budget_usd: float | None = None
    """What it may spend on models, with the workflows that it invokes; the operator's bound holds besides."""
    turns_from: str | None = None
    """A run whose models' turns are served to this one: it asks no model, and needs no key."""
    pool: str | None = None
    labels: JsonObject = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a timeline."""

    n: int
    at: float
    """Unix seconds."""
    type: str
    data: JsonObject


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of output."""

    n: int
    at: float
    level: str
    """`stdout` and `stderr`, or the level of a record of `logging`."""
    text: str
    step: str = ""
    """The step that it comes from; empty for the body."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One entry of a journal, values as plain JSON."""

    seq: int
    key: str
    kind: str
    name: str
    step: str
    attempt: int
    status: str
    args: Json
    value: Json
    error: str | None
    opened_at: float | None
    finished_at: float | None
    delivery: int | None


@dataclass(frozen=True, slots=True)
class Emitted:
    """What became of an event."""

    event_id: str
    delivered: tuple[str, ...]
    """Runs that waited for it, up to a thousand of them."""
    count: int
    """How many they are."""
    duplicate: bool
    """The id was used before: nothing was sent."""


def write_cursor(created_at: float, run_id: str) -> str:
    """Return a cursor after that run."""
    return base64.urlsafe_b64encode(json.dumps([created_at, run_id]).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[float, str]:
    """Return the place of a cursor.

    Raises:
        InvalidArguments: it was not made by `write_cursor`.
    """
    try:
        created_at, run_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return float(created_at), str(run_id)
    except (Base64Error, ValueError, TypeError) as error:
        raise InvalidArguments("cursor is not one that list_runs gave", hint="Leave it out to begin anew.") from error
