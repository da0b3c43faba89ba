"""In which order the body of a workflow learns of outcomes: live in the order noted, on a replay in the recorded one.

Outcomes for the body wait in `arrivals` until the body has nothing left to run, and are then taken one at a time; a
mark tells the host the order. Inside a step's attempt outcomes are delivered as they come, since a finished step is
not run again.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from stepwell.sdk import codec
from stepwell.sdk.context import WORKFLOW_FILE
from stepwell.sdk.exceptions import NonDeterminismError
from stepwell.sdk.handles import caller_line
from stepwell.sdk.scope import Scope, current_scope
from stepwell_sandbox.guest import real
from stepwell_sandbox.guest.channel import Channel
from stepwell_sandbox.guest.held import Held, Request
from stepwell_sandbox.guest.loop import BodyLoop
from stepwell_sandbox.guest.pending import Pending
from stepwell_sandbox.guest.readings import Readings
from stepwell_sandbox.guest.replay import Record, Replay

DURABLE_WAITS = frozenset({"timer", "input", "approval", "event", "child"})
FAR_S = 2.5  # a deadline further away than this is a timer of the host
QUICK_S = 0.02  # a call that takes longer than this may be one that waits for a person


class Delivery:
    """Open calls, their outcomes, and the order in which these reach the body."""

    def __init__(self, channel: Channel, replay: Replay, seed: str, clock: float, mode: str) -> None:
        self.mode = mode
        self.rehearsing = mode != "run"
        self.held: dict[str, tuple[str, int]] = {}
        """While rehearsing: label and line, by key, of the calls and steps that the journal does not hold."""
        self.channel = channel
        self.replay = replay
        self.loop = BodyLoop(self)
        self.arrivals: deque[Pending] = deque()
        self._open: dict[int, Pending] = {}
        self._awaited_turns: dict[str, Pending] = {}
        self._held = Held(self._send)
        self._calls = 0
        self._received = 0
        self._delivered = replay.seal()
        self._clock = clock
        self.readings = Readings(channel, replay, seed, clock, lambda: self._clock)
        self._busy_threads = 0
        self._said_idle = (-1, -1)
        self._lock = threading.RLock()
        self._main = threading.get_ident()

    @property
    def replaying(self) -> bool:
        """Whether recorded deliveries are still to come."""
        return self.replay.next_key is not None

    def blocking(self) -> bool:
        """Whether the running code must wait by blocking."""
        return asyncio._get_running_loop() is None

    def ask(
        self,
        pending: Pending,
        name: str,
        encoded: dict[str, Any],
        *,
        step: str = "",
        delay_s: float = 0.0,
        block: bool = False,
    ) -> bool:
        """Answer a call from the journal, or ask the host; whether it was in the journal.

        With `block` the event loop will stand still until there is an outcome.

        Raises:
            NonDeterminismError: the journal holds another call at this key.
        """
        line = caller_line(WORKFLOW_FILE)
        label = f"{pending.kind}:{name}:{codec.digest(encoded)}"
        with self._lock:
            record = self.replay.find(pending.key, label, line)
            if record is not None and record.finished:
                self._answer(pending, record)
                return True
            if self.rehearsing:
                if record is None:
                    self.held[pending.key] = label, line
                return False
            frame: dict[str, Any] = {
                "t": "call", "key": pending.key, "kind": pending.kind, "name": name, "args": encoded, "line": line
            }  # fmt: skip
            if step:
                frame["step"] = step
            if delay_s:
                frame["delay_s"] = delay_s
            # One that was sent already may have had its effect: what became of it matters in any case.
            if record is None and not block and self._holds():
                self._held.add(Request(pending, frame, current_scope()))
                self.loop.wake()
            else:
                if self._held and threading.get_ident() == self._main:
                    self._held.send()  # made earlier
                self._send(pending, frame, current_scope())
            return False

    def _holds(self) -> bool:
        return (self.replaying or bool(self._held)) and not self.blocking() and self.loop.runs_here()

    def send_step(self, frame: dict[str, Any], pending: Pending) -> None:
        """Record a step's result, which arrives when the host says that it is on disk."""
        pending.done = False
        with self._lock:
            self._calls += 1
            self._open[self._calls] = pending
            self.channel.send(frame | {"ack": self._calls})

    def _send(self, pending: Pending, frame: dict[str, Any], scope: Scope | None) -> None:
        self.readings.flush(scope)
        self._calls += 1
        self._open[self._calls] = pending
        frame["id"] = self._calls
        self.channel.send(frame)

    def send_held(self) -> None:
        """Ask the host for what was kept back: nothing is due that could make it unwanted."""
        with self._lock:
            self._held.send()

    def drop(self, pending: Pending) -> None:
        """Nobody waits for the outcome any more: tell the host, which then need not wait either."""
        self.held.pop(pending.key, None)
        if self.loop.failed:
            return
        with self._lock:
            if self._held.drop(pending):
                return
            ident = next((ident for ident, opened in self._open.items() if opened is pending), 0)
            self._open.pop(ident, None)
            # An event that has come and is not taken goes to the next wait for it.
            untaken = pending.kind == "event" and pending.done and not pending.mark
            if untaken and pending in self.arrivals:
                self.arrivals.remove(pending)
            if ident or untaken:
                self.channel.send({"t": "drop", "id": ident, "key": pending.key})

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

    def deadline(self, key: str, delay_s: float, on_turn: Callable[[], None]) -> tuple[Pending, bool]:
        """Return what stands for a deadline of the body, and whether something else than this process keeps it.

        A far one is a timer of the host, so that the run can be parked meanwhile; a near one that has passed in an
        earlier attempt is in the journal.
        """
        if delay_s > FAR_S:
            pending = Pending(key, "timer", ordered=True)
            pending.on_turn = on_turn
            self.ask(pending, "deadline", {}, delay_s=delay_s)
            return pending, True
        pending = Pending(key, "fired", ordered=True)
        pending.on_turn = on_turn
        record = self.replay.find(key, "fired:deadline:", caller_line(WORKFLOW_FILE))
        if record is not None:
            with self._lock:
                self._answer(pending, record)
        return pending, record is not None or self.rehearsing

    def passed(self, pending: Pending) -> None:
        """A deadline has passed; the body learns of it in its turn."""
        with self._lock:
            pending.settle(real.now(), None, None)
            self._arrive(pending)

    def _release(self, pending: Pending) -> None:
        if pending.on_turn is not None:
            pending.on_turn()
        if pending.event is not None:
            pending.event.set()
        if pending.future is not None and not pending.future.done():
            self.loop.resolve(pending.future)

    @property
    def deliverable(self) -> bool:
        """Whether `deliver_next` has something to give."""
        key = self.replay.next_key
        return bool(self.arrivals) if key is None else key in self._awaited_turns

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

    def rest(self) -> Coroutine[Any, Any, None]:
        """While rehearsing, when all that is recorded has been replayed: return what is left to do."""
        raise NotImplementedError

    def rest_here(self) -> NoReturn:
        """Like `rest`, from code of the body that will not go on. It may block an event loop: that one is left."""
        self.check_stuck()
        work = self.rest()
        asyncio._set_running_loop(None)
        self.loop.run(work)
        raise AssertionError("the guest's last work ends its process")

    def check_stuck(self) -> None:
        """Raise if the body waits, nothing runs, and the next recorded outcome was never asked for."""
        key = self.replay.next_key
        if key is not None and key not in self._awaited_turns:
            waiting = ", ".join(sorted(p.key for p in self._open.values())) or "nothing"
            raise self._elsewhere(key, f"another call; it waits for {waiting}")

    def _elsewhere(self, key: str, otherwise: str) -> NonDeterminismError:
        """Return the error of a body that did not come to the call whose outcome is the next recorded one."""
        record = self.replay.get(key)
        recorded = record.label if record else key
        if not self.held:
            return NonDeterminismError(key, recorded, otherwise)
        other, (label, line) = next(iter(self.held.items()))
        return NonDeterminismError(key, recorded, f"{label} at {other!r}", line)

    def _mark(self, pending: Pending) -> None:
        self._delivered += 1
        pending.mark = self._delivered
        if pending.kind == "fired":
            self.channel.send({"t": "fired", "key": pending.key, "at": pending.at, "mark": pending.mark})
        else:
            self.channel.mark(pending.mark, pending.key)

    async def _outcome(self, pending: Pending) -> None:
        if self.blocking() or (not pending.ordered and not self.loop.runs_here()):
            self._block(pending)
            return
        if pending.done and not pending.ordered:
            return
        if not self.loop.runs_here():
            raise RuntimeError("this event loop is not the workflow's: make `run` an `async def` instead")
        # Not a numbered one: whether there is one depends on when the outcome comes.
        pending.future = asyncio.Future(loop=asyncio.get_running_loop())
        self.loop.wake()
        try:
            await pending.future
        except asyncio.CancelledError:
            self.drop(pending)
            raise

    def _block(self, pending: Pending) -> None:
        if threading.get_ident() != self._main:
            self._block_thread(pending)
            return
        while not self._taken(pending):
            if self.rehearsing:
                self.rest_here()
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
                raise self._elsewhere(key, f"a call that waits for {pending.key}")
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
                self._received += 1
                pending = self._open.pop(frame["id"], None)
                if pending is None:
                    continue  # dropped meanwhile
                if pending.kind == "step":
                    pending.done = True  # its result is its own; the host says that it is on disk
                else:
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
        return bool(self._open or self._held)

    def say_idle(self) -> None:
        """Tell the host that only it can make the run go on, if that is so and news."""
        with self._lock:
            state = (self._received, self._calls)
            if self._open and not self._busy_threads and not self.arrivals and state != self._said_idle:
                self._said_idle = state
                self.channel.send({"t": "idle", "calls": self._received})
