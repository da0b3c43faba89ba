"""A recorded run replayed with some version of its workflow, without effects: how far the two agree."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from stepwell.engine.limiting import RunLimits
from stepwell.engine.replaying import begin, open_guest, replay_chunks
from stepwell.engine.services import Services
from stepwell.engine.verdict import crash
from stepwell.errors import LimitExceeded, ProtocolViolation
from stepwell.model import LIVE, JsonObject, RunStatus, Version
from stepwell.ports import GuestProcess, frames
from stepwell.store.journal import Entry
from stepwell.store.runs import RunRow

REHEARSAL_S = 60.0  # for the code between calls; nothing is waited for
MAX_SHOWN = 300  # characters of a value in a difference
# Failures of this kind are no path of the program: what is recorded before them just ends somewhere.
OUTSIDE = frozenset({"limit_exceeded", "crashed", "protocol_violation", "nondeterminism", "host_error"})


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a version first leaves the journal of a run."""

    key: str
    """The call's; empty for the end of the run."""
    recorded: str
    found: str
    line: int = 0
    """Of the version's source, 1-based; 0 if unknown."""

    def describe(self) -> JsonObject:
        """Return the form of the borders."""
        return {"key": self.key, "recorded": self.recorded, "found": self.found, "line": self.line or None}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A recorded run beside a version of its workflow."""

    run_id: str
    version: str
    """Hash of the source that was replayed."""
    replayed: int
    """Outcomes of the journal that reached the code as recorded."""
    difference: Difference | None

    def describe(self) -> JsonObject:
        """Return the form of the borders."""
        return {
            "run_id": self.run_id,
            "version": self.version,
            "agrees": self.difference is None,
            "replayed": self.replayed,
            "difference": None if self.difference is None else self.difference.describe(),
        }


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """How far a replay came."""

    last: frames.GuestFrame
    delivered: int
    """Outcomes that reached the body as recorded."""
    asked: frozenset[str]
    """Keys of calls and steps that it came to without learning their outcome."""


async def rehearse(services: Services, row: RunRow, version: Version, entries: Sequence[Entry]) -> Rehearsal:
    """Replay a run's journal with a version, in a process that can do nothing.

    Raises:
        RunError: its process crossed a limit or broke the protocol, or its packages cannot be had.
    """
    guest = await open_guest(services, services.limits, version)
    try:
        async with asyncio.timeout(REHEARSAL_S):
            await begin(guest, row, version, replay_chunks(entries), attempt=row.attempts + 1, mode="check")
            return await _read(services, guest)
    except TimeoutError:
        raise LimitExceeded(
            f"the replay took longer than {REHEARSAL_S:g} s", hint="Its code computes for long between calls."
        ) from None
    finally:
        await guest.close()


async def _read(services: Services, guest: GuestProcess) -> Rehearsal:
    reached = frames.Reached(0, [])
    while received := await guest.receive():
        for frame in received:
            match frame:
                case frames.Reached():
                    reached = frame
                case frames.Done() | frames.Failed() | frames.Terminated() | frames.Diverged() | frames.Rested():
                    return Rehearsal(frame, reached.delivered, frozenset(reached.asked))
                case frames.Call():
                    raise ProtocolViolation("the guest made a call in a replay that makes none")
                case _:
                    continue
    crash(await guest.close(), RunLimits(services.limits, services.limits))
    raise ProtocolViolation("the workflow's process was killed from outside; try again")


def find_difference(row: RunRow, rehearsal: Rehearsal) -> Difference | None:
    """Return the first difference between a run and its rehearsal; None where they agree as far as it is recorded."""
    end = recorded_end(row)
    match rehearsal.last:
        case frames.Diverged() as frame:
            return Difference(frame.key, frame.recorded, frame.found, frame.line)
        case frames.Rested() as frame:
            if frame.key and (end or row.status not in (RunStatus.PENDING, RunStatus.RUNNING)):
                if row.status not in LIVE and not end:
                    return None  # it was stopped from outside, somewhere
                return Difference(frame.key, end or "nothing: it waits", frame.found, frame.line)
            return Difference("", end, "a wait") if end else None
        case frame:
            found = _found_end(frame)
    if not end and row.status not in LIVE:
        return None
    return None if found == end else Difference("", end or f"a run that is {row.status}", found)


def recorded_end(row: RunRow) -> str:
    """Return what the program of a run came to, as text; empty if it did not come to its end."""
    match row.status:
        case RunStatus.COMPLETED:
            return _returns(row.output)
        case RunStatus.TERMINATED:
            return f"the end: terminated, {row.reason or ''!r}"
        case RunStatus.FAILED | RunStatus.REJECTED | RunStatus.DEAD if row.error is not None:
            error = msgspec.json.decode(row.error)
            return "" if error.get("code") in OUTSIDE else f"the end: {error['type']}: {error['message']}"[:MAX_SHOWN]
        case _:
            return ""


def _found_end(frame: frames.GuestFrame) -> str:
    match frame:
        case frames.Done():
            return _returns(bytes(frame.value))
        case frames.Terminated():
            return f"the end: terminated, {frame.reason!r}"
        case frames.Failed():
            return f"the end: {frame.error.type}: {frame.error.message}"[:MAX_SHOWN]
        case _:
            raise ProtocolViolation("the guest sent a frame out of order")


def _returns(output: bytes | None) -> str:
    # Decoded and encoded again: equal values are equal text.
    text = msgspec.json.encode(msgspec.json.decode(output or b"null"), order="deterministic").decode()
    return f"the end: returned {text}"[:MAX_SHOWN]
