"""What a live stretch of a run comes to: a result, a failure, a pause, or another try."""

import json
import logging
import re
import signal
from dataclasses import dataclass

import stepwell
from stepwell.compat import SYSTEMS
from stepwell.engine.limiting import RunLimits
from stepwell.engine.view import dump_error, error_info
from stepwell.errors import GuestCrashed, NonDeterminism, ProtocolViolation
from stepwell.model import LIVE, ErrorInfo, JsonObject, RunStatus
from stepwell.ports import Exit, frames

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """How a live stretch of a run ends."""

    status: RunStatus
    output: bytes | None = None
    error: ErrorInfo | None = None
    reason: str | None = None
    wake_at: float | None = None
    keys: tuple[str, ...] = ()
    """Of what a parked run waits for."""

    @property
    def parked(self) -> bool:
        """Whether the run goes on later."""
        return self.status in LIVE


def write_end(end: End) -> JsonObject:
    """Return an end as it is kept while the run's steps are undone."""
    error = None if end.error is None else json.loads(dump_error(end.error))
    return {"status": end.status, "error": error, "reason": end.reason}


def read_end(record: JsonObject) -> End:
    """Return the end that `write_end` has written."""
    error = record["error"]
    info = None if error is None else ErrorInfo(**error | {"cause": tuple(error.get("cause", ()))})
    return End(RunStatus(record["status"]), error=info, reason=record["reason"])


def last(frame: frames.GuestFrame, limits: RunLimits) -> End:
    """Return how the run ends by the guest's last frame.

    Raises:
        NonDeterminism: it left its journal.
        ProtocolViolation: it is no last frame.
    """
    match frame:
        case frames.Done():
            return End(RunStatus.COMPLETED, bytes(frame.value))
        case frames.Terminated():
            return End(RunStatus.TERMINATED, reason=frame.reason)
        case frames.Failed():
            rejected = frame.error.code == "rejected" and frame.error.type == "ApprovalDenied"
            status = RunStatus.REJECTED if rejected else RunStatus.FAILED
            error = limits.named(error_info(frame.error, failure_hint(frame.error)))
            return End(status, error=error, reason=error.message)
        case frames.Diverged():
            raise diverged(frame)
        case _:
            raise ProtocolViolation("the guest sent a frame out of order")


def crash(end: Exit, limits: RunLimits) -> End:
    """Return what becomes of a run whose process died: its own fault, or tried again."""
    outside = end.signal is None and end.code is None  # it could not even be reaped
    if (outside or end.signal == signal.SIGKILL) and end.limit in (None, "memory_bytes"):
        log.warning("a workflow's process was killed from outside: %s", end.detail or "no reason is known")
        return End(RunStatus.PENDING)
    if end.limit is not None:
        raise limits.error(end.limit)
    how = f"signal {end.signal}" if end.signal else f"exit code {end.code}"
    raise GuestCrashed(f"the workflow's process ended without a result ({how}) {end.detail}".strip())


def diverged(frame: frames.Diverged) -> NonDeterminism:
    """Return the error of a guest that left its journal."""
    return NonDeterminism(
        f"at {frame.key!r} the journal holds {frame.recorded}, the code asked for {frame.found}"
        + (f" (line {frame.line})" if frame.line else ""),
        hint="A workflow must make the same calls in the same order on every attempt: let none depend on what a step "
        "changes outside of it, on id() or on the order of a set of objects.",
    )


def failure_hint(failure: frames.Failure) -> str:
    """Return what to do about a failure, where that is known."""
    if failure.type == "TypeError" and "awaitable is required" in failure.message:
        return (
            "tools.x(...) has run already when it returns; to run tools beside each other write ctx.step(tools.x, ...)."
        )
    if failure.type in ("ModuleNotFoundError", "ImportError"):
        return _import_hint(failure.message)
    if failure.type == "NameError" and (found := re.match(r"name '(\w+)' is not defined", failure.message)):
        return f"Add the line: from stepwell import {found[1]}" if found[1] in stepwell.__all__ else ""
    return ""


def _import_hint(message: str) -> str:
    if "failed to map segment" in message:
        return (
            "At this machine's isolation level compiled modules are loaded when the run begins: import this one by its "
            "full name at the top of the source."
        )
    if re.search(r"(No module named|from) 'stepwell\b", message):
        return (
            "Stepwell has no such name. Leave out what the server does by itself: workers, monitors, dead letters, "
            "triggers. stepwell.compat has the modules ninetrix, agnt5, definable and sagewai, each with all its names."
        )
    found = re.search(r"No module named '([\w.]+)'", message)
    name = found[1].partition(".")[0] if found else "NAME"
    if name in SYSTEMS:
        return f"Import the same names from stepwell.compat.{name}, which has them without further modules."
    return (
        "A workflow has the standard library and the packages that it declares. Use tools.fetch, tools.curl or another "
        f"tool, or begin the source with these lines, if the operator allows the package (its name on the index may "
        f'differ):\n# /// script\n# dependencies = ["{name}"]\n# ///'
    )


def end_data(end: End) -> JsonObject:
    """Return what the last event of a run says about its error."""
    return {} if end.error is None else {"error": f"{end.error.type}: {end.error.message}"[:500]}
