"""Which runs this process works on: its lease, its claims, its slots."""

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Literal

from stepwell.engine.deciding import end_as_dead
from stepwell.engine.emitting import finish_deliveries
from stepwell.engine.execution import Execution
from stepwell.engine.lease import LEASE_S, boot_id, is_dead
from stepwell.engine.memory import LEAST_BYTES
from stepwell.engine.services import Services
from stepwell.errors import StoreError
from stepwell.model import LIVE, JsonObject
from stepwell.store import claims, family, runs, timeline, waits, workers
from stepwell.store.runs import NewRun, RunRow

log = logging.getLogger(__name__)

Queue = Literal["", "slots", "memory"]
"""What pending runs wait for here."""

POLL_S = 0.25  # how often another process's writes are looked for; one pragma when there are none
SWEEP_S = 2.0  # how often other workers are looked at


class Dispatcher:
    """Claims runs and executes up to `slots` of them at one time."""

    def __init__(self, services: Services, slots: int) -> None:
        self._services = services
        self._slots = slots
        self._held: dict[str, asyncio.Task[None]] = {}
        self._storing: set[asyncio.Task[bool]] = set()
        self._idle: set[str] = set()
        self._yielded: set[str] = set()
        self._queue: Queue = ""
        self._told: Queue = ""
        self._claiming = False
        self._starting = 0
        self._kicked = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._boot = boot_id()
        self._version = self._foreign = -1
        self._swept = 0.0

    @asynccontextmanager
    async def serve(self) -> AsyncGenerator[None, None]:
        """Execute runs while the context is open; then hand them over."""
        await self._beat()
        failed: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                grow = self._services.database.grow_log
                tasks = [group.create_task(work()) for work in (grow, self._renew, self._claim, self._poll)]
                try:
                    yield
                except Exception as error:  # noqa: BLE001  the caller's: raised below, outside of the group
                    failed = error
                finally:
                    self._group = None
                    for task in (*tasks, *self._held.values()):
                        task.cancel()
        finally:
            await asyncio.shield(self._leave())
        if failed is not None:
            raise failed

    async def _leave(self) -> None:
        if self._storing:
            await asyncio.wait(self._storing)
        # What the guests have recorded first: once the runs are handed over, these writes would be fenced.
        await self._services.recorder.drain()
        await self._services.database.write(lambda c: workers.leave(c, self._services.worker))

    def kick(self) -> None:
        """Look for runs to take up, now."""
        self._kicked.set()

    def yield_slot(self, run_id: str) -> None:
        """The run only waits for its children: they may use its slot."""
        if run_id not in self._yielded:
            self._yielded.add(run_id)
            self._kicked.set()

    def take_slot(self, run_id: str) -> None:
        """The run works again."""
        self._yielded.discard(run_id)

    def is_crowded(self) -> bool:
        """Whether runs wait for memory that those which wait for them could give back."""
        return self._queue == "memory"

    @property
    def free(self) -> int:
        """How many more runs may be taken up."""
        return self._slots - len(self._held) - self._starting + len(self._yielded & self._held.keys())

    async def start(self, run: NewRun, fill: Callable[[sqlite3.Connection], None] | None = None) -> bool:
        """Store a new run and take it up at once if there is room; False if its id is taken.

        `fill` writes what it begins with, in the same transaction.
        """
        # Who asks may be cancelled meanwhile; a run that is stored as this process's must be worked on all the same.
        storing = asyncio.create_task(self._store(run, fill))
        self._storing.add(storing)
        storing.add_done_callback(self._stored)
        return await asyncio.shield(storing)

    def _stored(self, storing: asyncio.Task[bool]) -> None:
        self._storing.discard(storing)
        if not storing.cancelled():
            storing.exception()  # nobody may be there any more to take it

    async def _store(self, run: NewRun, fill: Callable[[sqlite3.Connection], None] | None) -> bool:
        room, now = self._has_room(run.version), time.time()

        def insert(connection: sqlite3.Connection) -> RunRow | None:
            if runs.find_run(connection, run.id) is not None:
                return None
            parent = None if run.parent_id is None else runs.find_run(connection, run.parent_id)
            if parent is not None and parent.status not in LIVE:
                return None  # it ended while it asked
            key = run.idempotency_key
            if key is not None and runs.find_by_idempotency(connection, run.workflow, key) is not None:
                return None
            runs.insert_run(connection, run)
            timeline.add_event(
                connection, run.id, now, "run.created", {"workflow": run.workflow, "version": run.version}
            )
            if fill is not None:
                fill(connection)
            if room:
                return claims.claim_run(connection, run.id, self._services.worker, now)
            return runs.find_run(connection, run.id)

        with self._place(run) if room else nullcontext():
            row = await self._services.database.write(insert)
        if row is not None and row.owner == self._services.worker:
            self._execute(row)
        elif row is not None:
            self.kick()
        return row is not None

    def _has_room(self, version: str) -> bool:
        """Whether a new run may be taken up at once; those that are queued come first."""
        memory = self._services.memory
        if self._group is None or self._queue or self._claiming or self.free <= 0:
            return False
        return (not self._held and not self._starting) or memory.expected(version) <= memory.room()

    @contextmanager
    def _place(self, run: NewRun) -> Generator[None, None, None]:
        """Keep a place for a run while it is stored."""
        self._starting += 1
        place = f"new {run.id}"  # the id may turn out to be that of a run which is under way
        self._services.memory.take(place, run.version)
        try:
            yield
        finally:
            self._starting -= 1
            self._services.memory.give_back(place)

    # -- tasks -----------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 3)
            try:
                await self._beat()
            except StoreError as error:
                log.error("the lease could not be renewed: %s", error)  # noqa: TRY400  the message says it all

    async def _beat(self) -> None:
        services, until, info = self._services, time.monotonic() + LEASE_S, self._fullness()
        pid = int(services.worker.split("-")[1])
        await services.database.write(
            lambda c: workers.beat(c, services.worker, pid, self._boot, until, time.time(), info)
        )

    def _fullness(self) -> JsonObject:
        memory = self._services.memory
        self._told = self._queue
        return {
            "slots": self._slots, "queue": self._queue, "memory_bytes": memory.used(), "memory_budget": memory.budget,
        }  # fmt: skip

    async def _claim(self) -> None:
        while True:
            self._kicked.clear()
            try:
                await self._take_up()
            except StoreError as error:
                log.error("no runs can be taken up: %s", error)  # noqa: TRY400  the message says it all
            await self._kicked.wait()

    async def _take_up(self) -> None:
        while self.free > 0:
            rows = await self._claim_some(self.free, time.time())
            for row in rows:
                self._execute(row)
            if not rows:
                break
        else:
            self._queue = "slots"
        if self._queue == "memory":
            for run_id in self._yielded:
                self._services.orders.notify(run_id)  # it can be parked while its children are queued

    async def _claim_some(self, slots: int, now: float) -> list[RunRow]:
        # Looking costs no write lock; most of the time there is nothing, but not behind a queue.
        if not self._queue and not await self._services.database.read(lambda c: claims.has_claimable(c, now)):
            self._queue = ""
            return []
        worker, memory, alone = self._services.worker, self._services.memory, not self._held
        room = memory.room()
        if room < LEAST_BYTES and not alone:
            self._queue = "memory"
            return []

        def claim(connection: sqlite3.Connection) -> tuple[list[RunRow], bool]:
            left, claimed = room, list[RunRow]()
            for run_id, version in claims.list_claimable(connection, now, slots):
                left -= memory.expected(version)
                # First come first served: a small run does not overtake a large one for ever. One fits always.
                if left < 0 and not (alone and not claimed):
                    return claimed, True
                if (row := claims.claim_run(connection, run_id, worker, now)) is not None:
                    claimed.append(row)
            return claimed, False

        self._claiming = True
        try:
            claimed, short = await self._services.database.write(claim)
        finally:
            self._claiming = False
        self._queue = "memory" if short else ""
        return claimed

    async def _poll(self) -> None:
        while True:
            # Jitter keeps several processes on one store from looking in step.
            await asyncio.sleep(POLL_S * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                await self._look()
            except StoreError as error:
                log.error("the store could not be read: %s", error)  # noqa: TRY400  the message says it all

    async def _look(self) -> None:
        services, now = self._services, time.time()
        version, foreign = await services.database.data_version(), await services.database.foreign_version()
        if time.monotonic() - self._swept > SWEEP_S:
            self._swept = time.monotonic()
            await self._sweep()
        if self._queue == "memory":
            self.kick()  # what others use of the machine changes without news
        if self._queue != self._told:
            await self._beat()
        due = await services.database.read(claims.next_wake)
        if due is not None and due <= now:
            self.kick()
        if version == self._version:
            return
        worker = services.worker
        news = await services.database.read(
            lambda c: (
                *waits.list_decided(c, worker),
                *runs.list_cancelled(c, worker),
                *family.list_resting_parents(c, worker),
            )
        )
        self._version = version  # once it was read what is new
        for run_id in dict.fromkeys(news):
            services.orders.notify(run_id)
        if foreign != self._foreign:
            self._foreign = foreign
            services.news.notify_all()
        self.kick()

    async def _sweep(self) -> None:
        """Take over from workers that are gone: dead ones at once, silent ones after their lease."""
        services = self._services

        def known(connection: sqlite3.Connection) -> tuple[list[str], list[str]]:
            moment = time.monotonic()
            return (
                workers.list_expired(connection, self._boot, moment),
                workers.list_workers(connection, self._boot, moment),
            )

        expired, alive = await services.database.read(known)
        gone = [w for w in (*expired, *alive) if w != services.worker and (w in expired or is_dead(services.locks, w))]
        for worker in gone:
            freed = await services.database.write(lambda c, worker=worker: _bury(c, worker))
            if freed:
                log.info("%s is gone; its %d runs go on", worker, freed)
        await self._hand_back()
        if gone:
            self.kick()
        await finish_deliveries(services.database, services.orders.notify)

    async def _hand_back(self) -> None:
        """Let go of runs that are ours without anybody working on them: their end could not be stored."""
        services = self._services
        owned = await services.database.read(lambda c: claims.list_owned(c, services.worker))
        idle = owned - self._held.keys()
        # Twice in a row, since one may just be between its claim and its execution.
        for run_id in idle & self._idle:
            await services.database.write(lambda c, run_id=run_id: claims.release_lost(c, services.worker, run_id))
            self.kick()
        self._idle = idle

    def _execute(self, row: RunRow) -> None:
        if self._group is None:
            return
        self._services.memory.take(row.id, row.version)
        task = self._group.create_task(Execution(self._services, row).live())
        self._held[row.id] = task
        task.add_done_callback(lambda _: self._released(row.id, task))

    def _released(self, run_id: str, task: asyncio.Task[None]) -> None:
        if self._held.get(run_id) is task:
            del self._held[run_id]
            self._services.memory.give_back(run_id)
        self._yielded.discard(run_id)
        self._kicked.set()


def _bury(connection: sqlite3.Connection, worker: str) -> int:
    """Take a dead worker out and end the runs that have outlived too many; return how many go on."""
    now = time.time()
    freed, poisoned = workers.bury(connection, worker, now)
    for run_id in poisoned:
        row = runs.find_run(connection, run_id)
        if row is not None:
            end_as_dead(connection, row, now)
    return len(freed)
