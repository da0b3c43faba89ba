"""What the authoring API asks of the guest: calls, steps, time, and the end of the run."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from stepwell.sdk import codec
from stepwell.sdk.context import WORKFLOW_FILE
from stepwell.sdk.exceptions import Ended, NonDeterminismError
from stepwell.sdk.handles import caller_line
from stepwell.sdk.options import StepOptions
from stepwell.sdk.runtime import Deferred, RunInfo, StepReport
from stepwell.sdk.scope import Scope, current_scope
from stepwell_sandbox.guest import failure, inputs, real
from stepwell_sandbox.guest.channel import Channel
from stepwell_sandbox.guest.delivery import Delivery
from stepwell_sandbox.guest.pending import Pending
from stepwell_sandbox.guest.rehearsal import Undo, interrupt_computing, undo_all
from stepwell_sandbox.guest.replay import Replay

T = TypeVar("T")


class GuestRuntime(Delivery):
    """Implements `stepwell.sdk.runtime.Runtime` over a channel."""

    def __init__(
        self, channel: Channel, info: RunInfo, replay: Replay, seed: str, clock: float, mode: str = "run"
    ) -> None:
        super().__init__(channel, replay, seed, clock, mode)
        self._info = info
        self._made: list[Deferred] = []
        self.careful = False
        """Whether the body goes on after a step only when its result is on disk."""
        self._undos: list[Undo] = []

    # -- what the authoring API asks -----------------------------------------------------------------------------

    @property
    def info(self) -> RunInfo:
        """The run."""
        return self._info

    def scope(self) -> Scope:
        """Return the scope of the running code."""
        scope = current_scope()
        if scope is None:
            raise RuntimeError("this thread does not belong to the workflow; use ctx.step or ctx.parallel instead")
        if scope.closed:
            raise Ended
        return scope

    async def call(
        self,
        kind: str,
        name: str,
        args: list[Any],
        kwargs: dict[str, Any],
        key: str,
        *,
        block: bool = False,
        ordered: bool | None = None,
    ) -> Any:
        """Ask the host, or the journal."""
        scope = self.scope()
        encoded: dict[str, Any] = {}
        if args:
            encoded["args"] = [codec.encode(arg, f"argument {n} of {name}") for n, arg in enumerate(args, 1)]
        if kwargs:
            encoded["kwargs"] = {k: codec.encode(v, f"argument {k!r} of {name}") for k, v in kwargs.items()}
        pending = Pending(key, kind, ordered=scope.ordered if ordered is None else ordered)
        self.ask(pending, name, encoded, step=scope.step, block=block)
        if block:
            self._block(pending)
        else:
            await self._outcome(pending)
        return pending.take()

    def find_attempts(self, key: str) -> tuple[int, int]:
        """Return how many failed attempts of the step are recorded, and how many of them count."""
        attempts = counting = 0
        while (record := self.replay.get(f"{key}@{attempts + 1}")) is not None:
            attempts += 1
            counting += record.status == "retry"
        return attempts, counting

    def span(self, key: str) -> tuple[float, float] | None:
        """Return when the step's first recorded attempt began and its newest one ended."""
        last = self.replay.get(key)
        first = self.replay.get(f"{key}@1") or last
        return None if first is None else (first.started, (last or first).at)

    def has_result(self, key: str, name: str, digest: str) -> bool:
        """Whether the step's result is recorded."""
        record = self.replay.find(key, f"step:{name}:{digest}", caller_line(WORKFLOW_FILE))
        return record is not None and record.finished

    async def hold(self, key: str, name: str) -> None:
        """While rehearsing: note a step that is asked for and has no result. Does not return."""
        self.held[key] = f"step:{name}", caller_line(WORKFLOW_FILE)
        try:
            await self._outcome(Pending(key, "step", ordered=self.scope().ordered))
        finally:
            self.dropped()

    async def restore(self, key: str, options: StepOptions) -> Any:
        """Return or raise the recorded result of a step, in its turn."""
        record = self.replay.get(key)
        assert record is not None
        if options.undo is not None and record.error is None:
            name = record.label.removeprefix("step:").rpartition(":")[0]
            self._undos.append(Undo(key, name, record.at, record.value, options))
        pending = Pending(key, "step", ordered=self.scope().ordered)
        if pending.ordered and key == self.replay.next_key and (self.blocking() or self.loop.quiet()):
            self.replay.advance()
            self._clock = max(self._clock, record.at)
            pending.settle(record.at, record.value, record.error)
            return pending.take()
        with self._lock:
            self._answer(pending, record)
        await self._outcome(pending)
        return pending.take()

    async def record(self, report: StepReport) -> Any:
        """Record a finished attempt; for a final one return or raise its result."""
        frame: dict[str, Any] = {
            "t": "step", "key": report.key, "name": report.name, "attempt": report.attempt, "final": report.final,
            "started": report.started, "finished": report.finished, "digest": report.digest,
        }  # fmt: skip
        self.readings.end(f"{report.key}@{report.attempt}/")
        self.readings.flush(current_scope())
        if not report.final:
            frame["key"] = f"{report.key}@{report.attempt}"
        try:
            frame["value"] = codec.encode(report.value, f"the result of step {report.name!r}")
        except codec.CodecError as error:
            report.error = report.error or error
        if report.error is not None:
            frame.pop("value", None)
            frame["error"] = failure.describe(report.error)
            frame["error"].setdefault("step", report.name)
            frame["error"].setdefault("attempt", report.attempt)
        frame["status"] = "error" if report.error is not None else "ok"
        if not report.final:
            self.channel.send(frame)
            return None
        if report.options.undo is not None and frame["status"] == "ok":
            frame["undo"] = True
        pending = Pending(report.key, "step", ordered=self.scope().ordered)
        pending.settle(report.finished, frame.get("value"), frame.get("error"))
        if self.careful:
            self.send_step(frame, pending)
            await self._outcome(pending)
            return pending.take()
        with self._lock:
            if pending.ordered and not self.arrivals and not self.replaying and self._at_once():
                self._delivered += 1
                frame["mark"] = self._delivered
                self._clock = max(self._clock, report.finished)
                self.channel.send(frame)
                return pending.take()
            self.channel.send(frame)
            self._arrive(pending)
        await self._outcome(pending)
        return pending.take()

    def _at_once(self) -> bool:
        """Whether the body may have its result at once: nothing else could come before it, or is kept waiting."""
        if self.blocking():
            return True
        return not self.outstanding and not self.busy and self.loop.quiet() and not self.loop.timed()

    async def run_sync(self, fn: Callable[[], T], timeout: float | None) -> T:
        """Run a function that may block."""
        if not self.blocking() and self.loop.runs_here():
            return await self.loop.run_function(fn, timeout)
        return fn() if timeout is None else self.loop.run_bounded(fn, timeout)

    async def run_async(self, work: Awaitable[T], timeout: float | None) -> T:
        """Await something that needs an event loop."""
        if not self.blocking():
            async with asyncio.timeout(timeout):
                return await work

        async def inner() -> T:
            async with asyncio.timeout(timeout):
                return await work

        if threading.get_ident() == self._main:
            return self.loop.run(inner())
        # A synchronous step in a thread: its async part gets a loop of its own, in which calls block.
        with asyncio.Runner() as runner:
            return runner.run(inner())

    async def turn_to_begin(self, path: str) -> None:
        """On a replay wait until no recorded outcome is due, unless the attempt at `path` has made calls."""
        if self.replaying and not self.blocking() and self.loop.runs_here() and not self.replay.has_within(path):
            await self.loop.none_due()

    def repeats_output(self) -> bool:
        """Whether what the running code prints was printed by an earlier attempt already."""
        scope = current_scope()
        return (self.rehearsing or self.replay.repeating) and (scope is None or scope.ordered)

    def note(self, kind: str, **fields: Any) -> None:
        """Add to the timeline; nothing while replaying what is there already."""
        if not self.replaying and not self.rehearsing:
            self.channel.send({"t": "note", "type": kind} | {k: v for k, v in fields.items() if v is not None})

    def terminate(self, reason: str) -> NoReturn:
        """End the run as a success with a reason."""
        self.finish({"t": "terminated", "reason": reason[:4000]})

    def now(self) -> float:
        """Return unix seconds; in the body the time of the last delivery."""
        scope = current_scope()
        return self._clock if scope is None or scope.ordered else real.now()

    def read_clock(self) -> float:
        """Return unix seconds as workflow code gets them: as `now`, but recorded inside a step's attempt."""
        scope = current_scope()
        return self._clock if scope is None or scope.ordered else time.time()

    def convert(self, value: Any, hint: Any) -> Any:
        """Return JSON as the type that a hint names."""
        return inputs.convert(value, hint)

    def derive(self, what: str) -> str:
        """Return what a generator of that name begins with."""
        return f"{self.readings.seed()}:{what}"

    def dropped(self) -> None:
        """Forget operations that are not awaited: they may be parts of work that a restored step did not need."""
        self.replay.asked += [made.key for made in self._made if made.key and not made.started]
        self._made.clear()

    def made(self, operation: Deferred) -> None:
        """Remember an operation until it is awaited."""
        self._made.append(operation)
        if len(self._made) > 1000:
            self._made = [made for made in self._made if not made.started]

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self, frame: dict[str, Any]) -> NoReturn:
        """Send the last frame and end the process."""
        if self.mode == "undo" and self.rehearsing and frame["t"] != "diverged":
            self.rest_here()
        if self.mode == "check":
            asked = self.replay.undelivered()
            self.channel.send({"t": "reached", "delivered": self.replay.delivered, "asked": asked})
        self.channel.send(frame)
        with contextlib.suppress(OSError):
            os.read(self.channel.fd, 1)  # the host closes; leaving first would look like a crash
        os._exit(0)

    def rest(self) -> Coroutine[Any, Any, None]:
        """While rehearsing: say how far it came, or undo what was done."""
        if self.mode == "check":
            key, (found, line) = next(iter(self.held.items()), ("", ("", 0)))
            self.finish({"t": "rested", "key": key, "found": found, "line": line})
        self.rehearsing = False
        return self._undo()

    def rehearse(self) -> None:
        """Come to an end also with a body that would compute for ever."""
        interrupt_computing(
            lambda: self.rehearsing and not self.replaying, lambda: not self.rehearsing, self._stop_computing
        )

    def _stop_computing(self) -> NoReturn:
        try:
            self.rest_here()
        except NonDeterminismError as error:
            self.finish(error.describe())

    async def _undo(self) -> None:
        try:
            failed = await undo_all(self._undos)
        except NonDeterminismError as error:
            self.finish(error.describe())
        self.finish({"t": "undone", "failed": failed})

    def check_complete(self) -> None:
        """Raise what is wrong with a body that has returned."""
        if (key := self.replay.next_key) is not None:
            record = self.replay.get(key)
            raise NonDeterminismError(key, record.label if record else key, "the end of the workflow")
        for operation in self._made:
            if not operation.started:
                raise RuntimeError(
                    f"{operation.what}, made in line {operation.line}, was never awaited; write `await` before it"
                )
