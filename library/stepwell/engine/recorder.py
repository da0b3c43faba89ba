"""Group commit: what all runs of this process write, in few transactions.

Entries are queued in the order in which their run made them and committed together: at once when somebody waits
for them to be durable, else within `DELAY_S`. Each batch of a run is fenced by its epoch, in the transaction.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from stepwell.engine.live import Signals
from stepwell.errors import Fenced
from stepwell.store import runs
from stepwell.store.database import Database

DELAY_S = 0.015  # an entry is on disk at the latest 20 ms after it was made

Write = Callable[[sqlite3.Connection], None]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write for a run."""

    run_id: str
    epoch: int


@dataclass(slots=True)
class _Cycle:
    """What the next transaction holds."""

    writes: dict[Lease, list[Write]] = field(default_factory=dict[Lease, list[Write]])
    urgent: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Future[set[Lease]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Recorder:
    """Queues writes; `serve` commits them."""

    def __init__(self, database: Database, worker: str, news: Signals) -> None:
        self._database = database
        self._worker = worker
        self._news = news
        self._cycle = _Cycle()
        self._committing: _Cycle | None = None
        self._filled = asyncio.Event()

    def add(self, lease: Lease, write: Write) -> None:
        """Queue a write."""
        self._cycle.writes.setdefault(lease, []).append(write)
        self._filled.set()

    async def durable(self, lease: Lease) -> None:
        """Return when all that was queued for the run is on disk.

        Raises:
            Fenced: another process holds the run; nothing of the batch was written.
        """
        for cycle in (self._committing, self._cycle):
            if cycle is not None and lease in cycle.writes:
                cycle.urgent.set()
                fenced = await asyncio.shield(cycle.done)
                if lease in fenced:
                    raise Fenced(f"run {lease.run_id} is held by another process now")

    @asynccontextmanager
    async def serve(self) -> AsyncGenerator[None, None]:
        """Commit while the context is open, and at its end what is still queued."""
        task = asyncio.create_task(self._serve())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.shield(self.drain())

    async def drain(self) -> None:
        """Commit what is queued."""
        while self._committing is not None or self._cycle.writes:
            if self._committing is None:
                await self._commit()
            else:
                await asyncio.wait([self._committing.done])

    async def _serve(self) -> None:
        while True:
            await self._filled.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(DELAY_S):
                    await self._cycle.urgent.wait()
            await self.drain() if self._committing is not None else await self._commit()

    async def _commit(self) -> None:
        cycle = self._committing = self._cycle
        self._cycle = _Cycle()
        self._filled.clear()
        try:
            done = await self._database.write(lambda c: self._apply(c, cycle)) if cycle.writes else set[Lease]()
        except Exception as error:  # noqa: BLE001  handed to every run that wrote; they stay resumable
            cycle.done.set_exception(error)
            cycle.done.exception()  # nobody may be waiting
        else:
            cycle.done.set_result(done)
        finally:
            self._committing = None
        for lease in cycle.writes:
            self._news.notify(lease.run_id)

    def _apply(self, connection: sqlite3.Connection, cycle: _Cycle) -> set[Lease]:
        fenced: set[Lease] = set()
        for lease, writes in cycle.writes.items():
            if not runs.holds(connection, lease.run_id, self._worker, lease.epoch):
                fenced.add(lease)
                continue
            for write in writes:
                write(connection)
        return fenced
