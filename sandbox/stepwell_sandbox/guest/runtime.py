"""Every call of a workflow: answered from the journal, or sent to the host; delivered in one reproducible order.

Outcomes for the body wait in `arrivals` until the body has nothing left to run, and are then taken one at a time;
a mark tells the host the order, and on replay the recorded order is followed. Inside a step's attempt outcomes are
delivered as they come, since a finished step is not run again.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from stepwell.sdk import codec
from stepwell.sdk.context import WORKFLOW_FILE
from stepwell.sdk.exceptions import Ended, NonDeterminismError
from stepwell.sdk.handles import caller_line
from stepwell.sdk.runtime import Deferred, RunInfo, StepReport
from stepwell.sdk.scope import Scope, current_scope
from stepwell_sandbox.guest import failure
from stepwell_sandbox.guest.channel import Channel
from stepwell_sandbox.guest.loop import BodyLoop
from stepwell_sandbox.guest.pending import Pending
from stepwell_sandbox.guest.replay import Record, Replay

T = TypeVar("T")
DURABLE_WAITS = frozenset({"timer", "input", "approval", "event", "child"})
QUICK_S = 0.02  # a call that takes longer than this may be one that waits for a person


class GuestRuntime:
    """Implements `stepwell.sdk.runtime.Runtime` over a channel."""

    def __init__(self, channel: Channel, info: RunInfo, replay: Replay, clock: float) -> None:
        self.channel = channel
        self._info = info
        self.replay = replay
        self.loop = BodyLoop(self)
        self.arrivals: deque[Pending] = deque()
        self._open: dict[int, Pending] = {}
        self._awaited_turns: dict[str, Pending] = {}
        self._calls = 0
        self._received = 0
        self._delivered = replay.seal()
        self._clock = clock
        self._busy_threads = 0
        self._said_idle = (-1, -1)
        self._lock = threading.RLock()
        self._main = threading.get_ident()
        self._made: list[Deferred] = []

    # -- what the authoring API asks -----------------------------------------------------------------------------

    @property
    def info(self) -> RunInfo:
        """The run."""
        return self._info

    @property
    def replaying(self) -> bool:
        """Whether recorded deliveries are still to come."""
        return self.replay.next_key is not None

    def scope(self) -> Scope:
        """Return the scope of the running code."""
        scope = current_scope()
        if scope is None:
            raise RuntimeError("this thread does not belong to the workflow; use ctx.step or ctx.parallel instead")
        if scope.closed:
            raise Ended
        return scope

    def blocking(self) -> bool:
        """Whether the running code must wait by blocking."""
        return asyncio._get_running_loop() is None

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
        line = caller_line(WORKFLOW_FILE)
        with self._lock:
            record = self.replay.find(key, f"{kind}:{name}:{codec.digest(encoded)}", line)
            pending = Pending(key, kind, ordered=scope.ordered if ordered is None else ordered)
            if record is not None and record.finished:
                self._answer(pending, record)
            else:
                self._calls += 1
                self._open[self._calls] = pending
                frame = {"t": "call", "id": self._calls, "key": key, "kind": kind, "name": name, "args": encoded}
                self.channel.send(frame | {"step": scope.step, "line": line})
        await self._outcome(pending, block=block)
        return pending.take()

    def find_attempts(self, key: str) -> tuple[int, int]:
        """Return how many failed attempts of the step are recorded, and how many of them count."""
        attempts = counting = 0
        while (record := self.replay.get(f"{key}@{attempts + 1}")) is not None:
            attempts += 1
            counting += record.status == "retry"
        return attempts, counting

    def has_result(self, key: str, name: str, digest: str) -> bool:
        """Whether the step's result is recorded."""
        record = self.replay.find(key, f"step:{name}:{digest}", caller_line(WORKFLOW_FILE))
        return record is not None and record.finished

    async def restore(self, key: str) -> Any:
        """Return or raise the recorded result of a step, in its turn."""
        record = self.replay.get(key)
        assert record is not None
        pending = Pending(key, "step", ordered=self.scope().ordered)
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
        pending = Pending(report.key, "step", ordered=self.scope().ordered)
        pending.settle(report.finished, frame.get("value"), frame.get("error"))
        with self._lock:
            if pending.ordered and self.blocking() and not self.arrivals and not self.replaying:
                self._delivered += 1
                frame["mark"] = self._delivered
                self._clock = max(self._clock, report.finished)
                self.channel.send(frame)
                return pending.take()
            self.channel.send(frame)
            self._arrive(pending)
        await self._outcome(pending)
        return pending.take()

    async def run_sync(self, fn: Callable[[], T], timeout: float | None) -> T:
        """Run a function that may block."""
        if not self.blocking():
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

    def repeats_output(self) -> bool:
        """Whether what the running code prints was printed by an earlier attempt already."""
        scope = current_scope()
        return self.replay.repeating and (scope is None or scope.ordered)

    def note(self, kind: str, **fields: Any) -> None:
        """Add to the timeline; nothing while replaying what is there already."""
        if not self.replaying:
            self.channel.send({"t": "note", "type": kind} | {k: v for k, v in fields.items() if v is not None})

    def terminate(self, reason: str) -> NoReturn:
        """End the run as a success with a reason."""
        self.finish({"t": "terminated", "reason": reason[:4000]})

    def now(self) -> float:
        """Return unix seconds; in the body the time of the last delivery."""
        scope = current_scope()
        return self._clock if scope is None or scope.ordered else time.time()

    def dropped(self) -> None:
        """Forget operations that are not awaited: they may be parts of work that a restored step did not need."""
        self._made.clear()

    def made(self, operation: Deferred) -> None:
        """Remember an operation until it is awaited."""
        self._made.append(operation)
        if len(self._made) > 1000:
            self._made = [made for made in self._made if not made.started]

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self, frame: dict[str, Any]) -> NoReturn:
        """Send the last frame and end the process."""
        self.channel.send(frame)
        with contextlib.suppress(OSError):
            os.read(self.channel.fd, 1)  # the host closes; leaving first would look like a crash
        os._exit(0)

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

    # -- delivery --------------------------------------------------------------------------------------------------

    def _answer(self, pending: Pending, record: Record) -> None:
        pending.settle(record.at, record.value, record.error)
        pending.mark = record.mark
        if pending.ordered and record.mark:
            self._awaited_turns[record.key] = pending
        else:
            self._arrive(pending)

    def _arrive(self, pending: Pending) -> None:
        if pending.ordered:
            self.arrivals.append(pending)
        else:
            self._release(pending)
        self.loop.wake()

    def deadline(self, key: str, on_turn: Callable[[], None]) -> tuple[Pending, bool]:
        """Return what stands for a deadline of the body, and whether an earlier attempt saw it pass."""
        pending = Pending(key, "fired", ordered=True)
        pending.on_turn = on_turn
        record = self.replay.find(key, "fired:deadline:", caller_line(WORKFLOW_FILE))
        if record is not None:
            with self._lock:
                self._answer(pending, record)
        return pending, record is not None

    def passed(self, pending: Pending) -> None:
        """A deadline has passed; the body learns of it in its turn."""
        with self._lock:
            pending.settle(time.time(), None, None)
            self._arrive(pending)

    def _release(self, pending: Pending) -> None:
        if pending.on_turn is not None:
            pending.on_turn()
        if pending.event is not None:
            pending.event.set()
        if pending.future is not None and not pending.future.done():
            self.loop.resolve(pending.future)

    def deliver_next(self) -> bool:
        """Give the body its next outcome; False if there is none to give yet.

        Raises:
            NonDeterminismError: the next recorded outcome belongs to a call that the body has not made.
        """
        key = self.replay.next_key
        if key is not None:
            pending = self._awaited_turns.pop(key, None)
            if pending is None:
                return False
            self.replay.advance()
        elif self.arrivals:
            pending = self.arrivals.popleft()
            self._mark(pending)
        else:
            return False
        self._clock = max(self._clock, pending.at)
        self._release(pending)
        return True

    def check_stuck(self) -> None:
        """Raise if the body waits, nothing runs, and the next recorded outcome was never asked for."""
        key = self.replay.next_key
        if key is not None and key not in self._awaited_turns:
            record = self.replay.get(key)
            waiting = ", ".join(sorted(p.key for p in self._open.values())) or "nothing"
            raise NonDeterminismError(key, record.label if record else key, f"another call; it waits for {waiting}")

    def _mark(self, pending: Pending) -> None:
        self._delivered += 1
        pending.mark = self._delivered
        if pending.kind == "fired":
            self.channel.send({"t": "fired", "key": pending.key, "at": pending.at, "mark": pending.mark})
        else:
            self.channel.send({"t": "mark", "n": pending.mark, "key": pending.key})

    async def _outcome(self, pending: Pending, *, block: bool = False) -> None:
        if block or self.blocking() or (not pending.ordered and not self.loop.runs_here()):
            self._block(pending)
            return
        if pending.done and not pending.ordered:
            return
        if not self.loop.runs_here():
            raise RuntimeError("this event loop is not the workflow's: make `run` an `async def` instead")
        pending.future = asyncio.get_running_loop().create_future()
        self.loop.wake()
        await pending.future

    def _block(self, pending: Pending) -> None:
        if threading.get_ident() != self._main:
            self._block_thread(pending)
            return
        while not self._taken(pending):
            # Most tools answer at once: an idle frame for each would double the traffic.
            frames = self.channel.receive(0 if pending.kind in DURABLE_WAITS else QUICK_S)
            if not frames:
                self.say_idle()
                frames = self.channel.receive()
            self.dispatch(frames)

    def _block_thread(self, pending: Pending) -> None:
        with self._lock:
            if pending.done:
                return
            pending.event = threading.Event()
        self.thread_waits(True)
        pending.event.wait()
        self.thread_waits(False)

    def _taken(self, pending: Pending) -> bool:
        if not pending.ordered:
            return pending.done
        key = self.replay.next_key
        if key is not None:
            if key != pending.key:
                record = self.replay.get(key)
                raise NonDeterminismError(key, record.label if record else key, f"a call that waits for {pending.key}")
            self._awaited_turns.pop(key, None)
            self.replay.advance()
        elif pending in self.arrivals:
            self.arrivals.remove(pending)
            self._mark(pending)
        else:
            return False
        self._clock = max(self._clock, pending.at)
        return True

    # -- the host's frames -------------------------------------------------------------------------------------------

    def dispatch(self, frames: list[dict[str, Any]]) -> None:
        """Take outcomes that have arrived."""
        with self._lock:
            for frame in frames:
                pending = self._open.pop(frame["id"], None)
                if pending is None:
                    continue
                self._received += 1
                pending.settle(frame["at"], frame.get("value"), frame.get("error"))
                self._arrive(pending)

    def thread_waits(self, waits: bool) -> None:
        """Count a thread as waiting for the host, or as busy again."""
        with self._lock:
            self._busy_threads += -1 if waits else 1
        self.loop.wake()

    def thread_runs(self, runs: bool) -> None:
        """Count a thread that runs a step."""
        with self._lock:
            self._busy_threads += 1 if runs else -1

    @property
    def busy(self) -> bool:
        """Whether a thread runs code, not counting those that wait for the host."""
        return self._busy_threads > 0

    @property
    def outstanding(self) -> bool:
        """Whether the host owes an outcome."""
        return bool(self._open)

    def say_idle(self) -> None:
        """Tell the host that only it can make the run go on, if that is so and news."""
        with self._lock:
            state = (self._received, self._calls)
            if self._open and not self._busy_threads and not self.arrivals and state != self._said_idle:
                self._said_idle = state
                self.channel.send({"t": "idle", "calls": self._received})
