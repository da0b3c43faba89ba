"""A guest while it lives: what it sends, what it is answered, and what is ordered from outside."""

import asyncio
import sqlite3
import time

import msgspec

from stepwell.engine.activity import Activity
from stepwell.engine.admission import read_call
from stepwell.engine.answers import Answers
from stepwell.engine.calls import Calls
from stepwell.engine.limiting import RunLimits
from stepwell.engine.outcome import Answer
from stepwell.engine.recorder import Lease
from stepwell.engine.services import Services
from stepwell.engine.verdict import End, crash, last
from stepwell.engine.waiting import Waiting
from stepwell.engine.work_clock import WorkClock
from stepwell.errors import Fenced, ProtocolViolation
from stepwell.model import JsonObject, RunStatus
from stepwell.model.aside import Aside
from stepwell.ports import GuestProcess, frames
from stepwell.ports.frames import Mode
from stepwell.store import family, runs, waits
from stepwell.store.runs import RunRow


class Conversation:
    """Takes the frames of one guest, from its first to the run's end or pause, and gives it its outcomes."""

    def __init__(
        self, services: Services, run: RunRow, lease: Lease, limits: RunLimits, calls: Calls, waits: Waiting, mode: Mode
    ) -> None:
        self._services = services
        self._run = run
        self._lease = lease
        self._limits = limits
        self._calls = calls
        self._waits = waits
        self._mode = mode
        self._book = waits.book
        self._aside, self._handing = Aside(), asyncio.Lock()
        self._answers: dict[int, tuple[frames.Call, asyncio.Task[None]]] = {}
        self._end: End | None = None
        self.clock = WorkClock(limits.values.wall_s - run.work_s)
        self._activity = Activity(run, services.runs, waits, calls.agents, self.clock)
        waits.changed = self._wait_changed
        self.not_undone = 0
        """How many steps could not be undone, where the guest undoes them."""

    async def serve(self, guest: GuestProcess, orders: asyncio.Event) -> End:
        """Return how the run ends or pauses.

        Raises:
            RunError: it failed by what the host saw of it.
            Fenced: another process holds the run.
        """
        answers = Answers()
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(work) for work in (self._obey(guest, orders), answers.watch())]
                try:
                    async with self.clock.bound():
                        end = await self._read(guest, answers)
                except TimeoutError:
                    raise self._limits.error("wall_s") from None
                finally:
                    self._answers.clear()  # else tasks and this hold each other until the next full collection
                    await answers.end()
                for task in beside:
                    task.cancel()
                return end
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None  # one is the reason, the others were cancelled by it

    async def _read(self, guest: GuestProcess, answers: Answers) -> End:
        while True:
            received = await guest.receive()
            if self._end is not None:
                return self._end
            if not received:
                return crash(await guest.close(), self._limits)
            for frame in received:
                if isinstance(frame, frames.Call):
                    self._activity.idle = False
                    if frame.mark:
                        self._book.mark(frame.mark, frame.marked)
                    decoded, digest = await self._admit(frame)
                    if self._end is not None:
                        return self._end
                    self._answers[frame.id] = frame, answers.start(self._answer(guest, frame, decoded, digest))
                elif (end := self._take(guest, frame)) is not None:
                    return end
                elif isinstance(frame, frames.Step) and frame.ack:
                    self._book.under_way.add(frame.key)
                    answers.start(self._acknowledge(guest, frame))
            self._activity.count()
            await self._book.drained()

    async def _admit(self, call: frames.Call) -> tuple[JsonObject, str]:
        decoded, digest = await self._aside.run(len(call.args), read_call, call)
        entry = self._book.entries.get(call.key)
        if call.key in self._book.under_way or (entry is not None and entry.label != call.label(digest)):
            raise ProtocolViolation(f"the guest used the key {call.key!r} twice")
        self._book.under_way.add(call.key)
        return decoded, digest

    async def _answer(self, guest: GuestProcess, call: frames.Call, decoded: JsonObject, digest: str) -> None:
        entry = self._book.entries.get(call.key)
        if entry is not None and entry.status in ("ok", "error"):
            failure = msgspec.json.decode(entry.error, type=frames.Failure) if entry.error else None
            answer = Answer(await self._book.value(entry), failure)
        else:
            answer = await self._calls.answer(call, decoded, digest)
        self._answers.pop(call.id, None)
        self._activity.end_call(call.key)
        self._services.runs.take_slot(self._run.id)
        entry = self._book.entries[call.key]
        if self._handing.locked() and entry.status == "ok" and entry.value is None:
            answer = None  # many may wait for a guest that does not read, and the store has it
        async with self._handing:
            answer = answer or Answer(await self._book.value(entry))
            # The time in the journal, not that of sending: on a replay the body's clock must show the same.
            await guest.send(frames.Outcome(call.id, entry.finished_at or time.time(), answer.raw, answer.failure))

    async def _acknowledge(self, guest: GuestProcess, step: frames.Step) -> None:
        await self._book.settled()
        self._activity.end_call(step.key)
        await guest.send(frames.Outcome(step.ack, step.finished))

    def _take(self, guest: GuestProcess, frame: frames.GuestFrame) -> End | None:
        match frame:
            case frames.Step():
                self._book.step(frame)
            case frames.Mark():
                self._book.mark(frame.n, frame.key)
            case frames.Compiled():
                self._services.codes.keep(self._run.version, frame.code)
            case frames.Drop():
                self._drop(guest, frame)
            case frames.Fired():
                self._book.fired(frame.key, frame.at, frame.mark)
            case frames.Readings():
                self._book.readings(frame)
            case frames.Log():
                self._book.log(frame)
            case frames.Note():
                self._book.note(frame)
            case frames.Idle():
                return self._rest(frame)
            case _:
                return self._last(frame)
        return None

    def _rest(self, frame: frames.Idle) -> End | None:
        if not self._activity.rest(frame.calls):
            return None  # said before; what has changed since is looked at when it does
        if any(wait.kind == "child" for wait in self._waits.open.values()):
            self._services.orders.notify(self._run.id)  # it may rest already: look at its state
        return self._activity.pause()

    def _last(self, frame: frames.GuestFrame) -> End:
        if self._mode == "run" or isinstance(frame, frames.Diverged):
            return last(frame, self._limits)
        if not isinstance(frame, frames.Undone):
            raise ProtocolViolation("the guest sent a frame out of order")
        self.not_undone = frame.failed
        return End(RunStatus.COMPLETED)

    def _drop(self, guest: GuestProcess, frame: frames.Drop) -> None:
        if frame.id not in self._answers:
            entry = self._book.entries.get(frame.key)
            if entry is not None and entry.kind == "event":
                self._waits.untaken(entry)
            return
        call, task = self._answers[frame.id]
        sent = call.kind == "tool" and call.key in self._book.entries
        sent = sent or (call.kind == "agent" and not self._calls.agents.drop(call))
        if sent or call.kind in ("query", "act", "start", "state"):
            return  # it has been sent, and may have its effect: the journal needs its outcome
        del self._answers[frame.id]
        guest.forget(frame.id)
        self._book.under_way.discard(call.key)
        self._waits.void(call)
        task.cancel()
        self._book.drop(call)

    async def _obey(self, guest: GuestProcess, orders: asyncio.Event) -> None:
        while self._end is None:
            row, decided, children = await self._services.database.read(self._news)
            if row is None or row.epoch != self._lease.epoch:
                raise Fenced(f"run {self._run.id} is held by another process now")
            decided = [wait for wait in decided if self._waits.decide(wait)]
            self._activity.children = children
            if row.cancel_reason is not None:
                await self._stop(guest, End(RunStatus.CANCELLED, reason=row.cancel_reason))
            elif not decided and (end := self._activity.pause()) is not None:
                await self._stop(guest, end)
            await orders.wait()
            orders.clear()

    def _news(self, connection: sqlite3.Connection) -> tuple[RunRow | None, list[waits.WaitRow], dict[str, str]]:
        return (
            runs.find_run(connection, self._run.id),
            waits.list_waits(connection, self._run.id, "decided"),
            family.child_states(connection, self._run.id),
        )

    async def _stop(self, guest: GuestProcess, end: End) -> None:
        self._end = end
        await guest.close()

    def _wait_changed(self) -> None:
        self._activity.count()
        if self._activity.idle:  # said before the task that answers its call came to open the wait
            self._services.orders.notify(self._run.id)
