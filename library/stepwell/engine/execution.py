"""One run while a process of this machine works on it: from the claim to its end, its pause, or its loss."""

import asyncio
import logging
import sqlite3
import time
from dataclasses import replace

import msgspec

from stepwell.engine.admission import read_call
from stepwell.engine.answers import Answers
from stepwell.engine.beginning_anew import begin_anew
from stepwell.engine.book import Book
from stepwell.engine.calls import Calls
from stepwell.engine.deciding import begin_unwinding, cancel_children
from stepwell.engine.ending import end_run
from stepwell.engine.limiting import FREE_CPU_S, RunLimits, run_limits
from stepwell.engine.outcome import Answer
from stepwell.engine.pausing import children_rest, pause_of, pause_run
from stepwell.engine.recorder import Lease
from stepwell.engine.replaying import begin, open_guest
from stepwell.engine.retrying import retried
from stepwell.engine.room import Room, doubled
from stepwell.engine.services import Services
from stepwell.engine.verdict import End, crash, end_data, last, read_end
from stepwell.engine.view import dump_error
from stepwell.engine.waiting import Waiting
from stepwell.engine.work_clock import WorkClock
from stepwell.errors import Fenced, ProtocolViolation, RunError
from stepwell.model import JsonObject, RunStatus
from stepwell.model.aside import Aside
from stepwell.ports import Caller, GuestProcess, frames
from stepwell.store import family, journal, retries, runs, timeline, waits
from stepwell.store.runs import RunRow

log = logging.getLogger(__name__)

MAX_NAMED = 100  # restored steps in an event
UNDOING = (RunStatus.FAILED, RunStatus.REJECTED, RunStatus.CANCELLED, RunStatus.DEAD)


class Execution:
    """Holds the lease of one run and the guest that works on it."""

    def __init__(self, services: Services, row: RunRow, mode: frames.Mode = "run") -> None:
        self.run = row
        self._mode: frames.Mode = mode
        self.lease = Lease(row.id, row.epoch)
        self._services = services
        self._end: End | None = None
        self._idle = False
        self._answered = 0
        self._open: set[str] = set()
        self._aside, self._handing = Aside(), asyncio.Lock()
        self._answers: dict[int, tuple[frames.Call, asyncio.Task[None]]] = {}
        self._children: dict[str, str] = {}
        self._limits = RunLimits(services.limits, services.limits)
        self._work = WorkClock(0.0)
        self._cpu_s = 0.0
        self._options: JsonObject = {}
        self._not_undone = 0

    async def live(self) -> None:
        """Work on the run until it ends, pauses, or another process has it. Raises nothing but cancellation."""
        try:
            await self._close(await self._work_on())
        except Fenced:
            log.warning("run %s: another process holds it now", self.run.id)
        except Exception:
            # It stays ours without anybody working on it: the dispatcher hands such runs back.
            log.exception("run %s: its end could not be stored", self.run.id)
        # Not when it was cancelled: what is still queued must know of a write that was lost before.
        self._services.recorder.forget(self.lease)

    async def _work_on(self) -> End:
        try:
            return await self._result()
        except Fenced:
            raise
        except Exception:
            # The host's fault: the run is handed back, not failed; a run that does this every time ends as dead.
            log.exception("run %s: could not be worked on", self.run.id)
            return End(RunStatus.PENDING)

    async def _result(self) -> End:
        """Return how the run ends or pauses; where it does not complete, after its steps have been undone."""
        if self.run.unwinding is not None:
            return await self._unwind(read_end(self.run.unwinding))
        try:
            end = await self._attempt()
        except RunError as error:
            end = End(RunStatus.FAILED, error=self._limits.described(error))
        end = retried(end, self.run, self._options)
        if end.status not in UNDOING:
            return end
        await self._services.recorder.durable(self.lease)
        if not await self._services.database.read(lambda c: journal.has_undo(c, self.run.id)):
            return end
        self._services.recorder.add(self.lease, lambda c: begin_unwinding(c, self.run.id, end))
        return await self._unwind(end)

    async def _unwind(self, end: End) -> End:
        """Undo the steps of a run that ends so; return that end, or the pause of an undo function."""
        await self._services.recorder.durable(self.lease)
        # Work that undoes has the limits to itself: the run may have used them up.
        undoing = Execution(self._services, replace(self.run, work_s=0.0, cpu_s=0.0), "undo")
        data: JsonObject = {}
        try:
            result = await undoing._attempt()
        except RunError as error:
            data = {"error": f"{type(error).__name__}: {error.message}"[:500]}
        else:
            if result.parked:
                return result
            data = {"stopped": True} if result.status is RunStatus.CANCELLED else {"failed": undoing._not_undone}
        now = time.time()
        self._services.recorder.add(self.lease, lambda c: timeline.add_event(c, self.run.id, now, "run.undone", data))
        return end

    # -- the beginning ---------------------------------------------------------------------------------------------

    async def _attempt(self) -> End:
        services = self._services
        version = await services.workflows.version(self.run.version)
        await begin_anew(services.recorder, self.lease, self.run, version.options)
        entries, known = await services.database.read(
            lambda c: (journal.list_entries(c, self.run.id), waits.load_waits(c, self.run.id))
        )
        self._limits, self._options = run_limits(services.limits, version), version.options
        self._work = WorkClock(self._limits.values.wall_s - self.run.work_s)
        room = Room(self._limits.values if self._mode == "run" else doubled(self._limits.values))
        run_id, database = self.run.id, services.database
        self._book = Book(
            services.recorder, self.lease, entries, room,
            lambda seq: database.read(lambda c: journal.read_value(c, run_id, seq)),
        )  # fmt: skip
        self._open = self._book.under_way
        person = services.tools.demands_person(Caller(self.run.workflow, version.hash))
        self._waits = Waiting(self.run, database, self._book, *known, self._wait_changed, person)
        self._calls = Calls(services, self.run, version, self._waits)
        restored = tuple(dict.fromkeys(e.name for e in entries if e.kind == "step" and e.status == "ok"))
        del entries  # with their values, which may be many megabytes
        guest = await open_guest(services, self._limits.for_process(self.run.cpu_s), version)
        services.memory.watch(self.run.id, guest, self._limits.values.memory_bytes)
        try:
            if self._mode == "run":
                self._note_start(guest, restored)
            # What the operator asks of all runs, a module cannot lower.
            careful = "step" in (services.durability, self._options.get("durability"))
            await begin(
                guest, self.run, version, self._book.replay(),
                attempt=self.run.attempts, mode=self._mode, durability="step" if careful else "group",
                threads=self._limits.values.threads, code=services.codes.find(version.hash),
                tells_code=services.codes.wants(version, self._limits.values),
            )  # fmt: skip
            with services.orders.watch(self.run.id) as orders:
                return await self._serve(guest, orders)
        finally:
            closed = await guest.close()
            self._cpu_s = max(0.0, closed.cpu_s - FREE_CPU_S)
            services.memory.learn(self.run.version, closed.memory_bytes)
            self._book.note_dropped(closed.dropped_lines)

    def _note_start(self, guest: GuestProcess, restored: tuple[str, ...]) -> None:
        level, first = guest.level, self.run.attempts == 1
        self._book.note_attempt(level, restored)
        data: JsonObject = {"attempt": self.run.attempts, "sandbox": level, "worker": self._services.worker}
        if not first:  # an event at every wake-up of a long run: it must not hold all its names
            data |= {"restored": list(restored[-MAX_NAMED:]), "steps": len(restored)}
            self._book.trim()
        self._book.event("run.started" if first else "run.resumed", data)

    # -- the middle ------------------------------------------------------------------------------------------------

    async def _serve(self, guest: GuestProcess, orders: asyncio.Event) -> End:
        answers = Answers()
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(work) for work in (self._obey(guest, orders), answers.watch())]
                try:
                    async with self._work.bound():
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
                    self._idle = False
                    if frame.mark:
                        self._book.mark(frame.mark, frame.marked)
                    decoded, digest = await self._admit(frame)
                    if self._end is not None:
                        return self._end
                    self._answers[frame.id] = frame, answers.start(self._answer(guest, frame, decoded, digest))
                elif (end := self._take(guest, frame)) is not None:
                    return end
                elif isinstance(frame, frames.Step) and frame.ack:
                    self._open.add(frame.key)
                    answers.start(self._acknowledge(guest, frame))
            self._count_work()
            await self._book.drained()

    def _count_work(self) -> None:
        # A guest that waits for a tool works; one that waits for a person, timer, event, child or model does not.
        working = len(self._open) + self._calls.agents.besides - self._calls.agents.asking
        self._work.turn(on=not self._idle or len(self._waits.open) < working)

    async def _admit(self, call: frames.Call) -> tuple[JsonObject, str]:
        decoded, digest = await self._aside.run(len(call.args), read_call, call)
        entry = self._book.entries.get(call.key)
        if call.key in self._open or (entry is not None and entry.label != call.label(digest)):
            raise ProtocolViolation(f"the guest used the key {call.key!r} twice")
        self._open.add(call.key)
        return decoded, digest

    async def _answer(self, guest: GuestProcess, call: frames.Call, decoded: JsonObject, digest: str) -> None:
        entry = self._book.entries.get(call.key)
        if entry is not None and entry.status in ("ok", "error"):
            failure = msgspec.json.decode(entry.error, type=frames.Failure) if entry.error else None
            answer = Answer(await self._book.value(entry), failure)
        else:
            answer = await self._calls.answer(call, decoded, digest)
        self._open.discard(call.key)
        self._answers.pop(call.id, None)
        self._idle = False
        self._count_work()
        self._services.runs.take_slot(self.run.id)
        self._answered += 1
        entry = self._book.entries[call.key]
        if self._handing.locked() and entry.status == "ok" and entry.value is None:
            answer = None  # many may wait for a guest that does not read, and the store has it
        async with self._handing:
            answer = answer or Answer(await self._book.value(entry))
            # The time in the journal, not that of sending: on a replay the body's clock must show the same.
            await guest.send(frames.Outcome(call.id, entry.finished_at or time.time(), answer.raw, answer.failure))

    async def _acknowledge(self, guest: GuestProcess, step: frames.Step) -> None:
        await self._book.settled()
        self._open.discard(step.key)
        self._idle = False
        self._count_work()
        self._answered += 1
        await guest.send(frames.Outcome(step.ack, step.finished))

    def _take(self, guest: GuestProcess, frame: frames.GuestFrame) -> End | None:
        match frame:
            case frames.Step():
                self._book.step(frame)
            case frames.Mark():
                self._book.mark(frame.n, frame.key)
            case frames.Compiled():
                self._services.codes.keep(self.run.version, frame.code)
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
        # One that waits for nothing would stop its clock.
        was, self._idle = self._idle, frame.calls == self._answered and bool(self._open)
        if was and self._idle:
            return None  # said before; what has changed since is looked at when it does
        if any(wait.kind == "child" for wait in self._waits.open.values()):
            self._services.orders.notify(self.run.id)  # it may rest already: look at its state
        return self._pause()

    def _last(self, frame: frames.GuestFrame) -> End:
        if self._mode == "run" or isinstance(frame, frames.Diverged):
            return last(frame, self._limits)
        if not isinstance(frame, frames.Undone):
            raise ProtocolViolation("the guest sent a frame out of order")
        self._not_undone = frame.failed
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
        self._open.discard(call.key)
        self._waits.void(call)
        task.cancel()
        self._book.drop(call)

    # -- orders from outside, and pauses -----------------------------------------------------------------------------

    async def _obey(self, guest: GuestProcess, orders: asyncio.Event) -> None:
        while self._end is None:
            row, decided, children = await self._services.database.read(self._news)
            if row is None or row.epoch != self.lease.epoch:
                raise Fenced(f"run {self.run.id} is held by another process now")
            decided = [wait for wait in decided if self._waits.decide(wait)]
            self._children = children
            if row.cancel_reason is not None:
                await self._stop(guest, End(RunStatus.CANCELLED, reason=row.cancel_reason))
            elif not decided and (end := self._pause()) is not None:
                await self._stop(guest, end)
            await orders.wait()
            orders.clear()

    def _news(self, connection: sqlite3.Connection) -> tuple[RunRow | None, list[waits.WaitRow], dict[str, str]]:
        return (
            runs.find_run(connection, self.run.id),
            waits.list_waits(connection, self.run.id, "decided"),
            family.child_states(connection, self.run.id),
        )

    async def _stop(self, guest: GuestProcess, end: End) -> None:
        self._end = end
        await guest.close()

    def _pause(self) -> End | None:
        """Return the pause that the run can make now: its guest waits, and only for what needs no process."""
        waiting = self._waits.open
        missing = len(self._open) + self._calls.agents.besides - len(waiting)
        if not self._idle or not waiting or missing > 0 or self._waits.held:
            return None
        if self._waits.keeps_dropped():
            return None
        pause = pause_of(waiting, time.time())
        if pause is not None and not children_rest(waiting, self._children):
            self._services.runs.yield_slot(self.run.id)
            if not self._services.runs.is_crowded() or "pending" not in self._children.values():
                return None
        return pause

    def _wait_changed(self) -> None:
        self._count_work()
        if self._idle:  # said before the task that answers its call came to open the wait
            self._services.orders.notify(self.run.id)

    # -- the end ---------------------------------------------------------------------------------------------------

    async def _close(self, end: End) -> None:
        run, now = self.run, time.time()
        children: list[str] = []
        if end.parked:
            self._write_pause(end)
        else:
            error = None if end.error is None else dump_error(end.error)

            def write(connection: sqlite3.Connection) -> None:
                runs.add_work(connection, run.id, self._work.spent_s, self._cpu_s)
                if end.error is not None:
                    retries.count_failure(connection, run.id)
                if end_run(
                    connection, run, end.status, now, output=end.output, error=error, reason=end.reason,
                    data=end_data(end),
                ):  # fmt: skip
                    children.extend(cancel_children(connection, run.id, f"its parent {run.id} ended as {end.status}"))

            self._services.recorder.add(self.lease, write)
        await self._services.recorder.durable(self.lease)
        for child in children:
            self._services.orders.notify(child)
            self._services.news.notify(child)
        self._services.news.notify(run.id)
        if run.parent_id is not None:
            self._services.orders.notify(run.parent_id)
        self._services.runs.kick()

    def _write_pause(self, end: End) -> None:
        run, options, now = self.run, self._options, time.time()
        spent = self._work.spent_s, self._cpu_s
        self._services.recorder.add(self.lease, lambda c: pause_run(c, run, end, options, spent, now))
