"""Group commit: what all runs of this process write, in few transactions.

Entries are queued in the order in which their run made them and committed together: at once when somebody waits
for them to be durable, else within `DELAY_S`, or `TIMELINE_S` if nothing depends on them. Each batch of a run is
fenced by its epoch, in the transaction.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice

from stepwell.engine.batch import Batch, Write
from stepwell.engine.live import Signals
from stepwell.errors import Fenced, HostError, StoreError
from stepwell.store import claims
from stepwell.store.database import Database

log = logging.getLogger(__name__)

DELAY_S = 0.015  # an entry is on disk at the latest 20 ms after it was made
TIMELINE_S = 0.25  # output and events alone are no reason for a commit of their own before this
WOKEN_AT_ONCE = 100  # some 3 ms of what follows in each


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """The right to write for a run; each claim is another."""

    run_id: str
    epoch: int


@dataclass(slots=True)
class _Cycle:
    """What the next transaction holds, and who waits for it.

    Each waiter has a future of its own, and they are woken a few a turn: a guest can have a thousand calls that wait
    for one commit. To leave a future that all share would cost each of them a walk through all the others.
    """

    batches: dict[Lease, Batch] = field(default_factory=dict[Lease, Batch])
    urgent: bool = False
    look: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is urgent, or it is time to see whether it is due."""
    ended: bool = False
    _waiting: dict[asyncio.Future[None], None] = field(default_factory=dict[asyncio.Future[None], None])

    async def wait(self) -> None:
        if self.ended:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[woken] = None
        try:
            await woken
        finally:
            self._waiting.pop(woken, None)

    def end(self) -> None:
        self.ended = True
        for woken in list(islice(self._waiting, WOKEN_AT_ONCE)):
            del self._waiting[woken]
            if not woken.done():
                woken.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self.end)


class Recorder:
    """Queues writes; `serve` commits them."""

    def __init__(self, database: Database, worker: str, commits: Signals) -> None:
        self._database = database
        self._worker = worker
        self._commits = commits
        self._cycle = _Cycle()
        self._committing: _Cycle | None = None
        self._filled = asyncio.Event()
        self._lost: dict[Lease, HostError] = {}

    def add(self, lease: Lease, write: Write) -> None:
        """Queue a write."""
        self.batch(lease).add(write)

    def batch(self, lease: Lease) -> Batch:
        """Return what the run writes next, to add to it now."""
        batch = self._cycle.batches.get(lease)
        if batch is None:
            batch = self._cycle.batches[lease] = Batch(lease.run_id)
            self._filled.set()
        return batch

    def queued(self, lease: Lease) -> int:
        """Return how many bytes, about, wait to be written for the run."""
        batch = self._cycle.batches.get(lease)
        return 0 if batch is None else batch.weight

    def forget(self, lease: Lease) -> None:
        """The holder of the lease writes no more."""
        self._lost.pop(lease, None)

    async def durable(self, lease: Lease, *, binding: bool = False) -> None:
        """Return when all that was queued for the run is on disk; with `binding` not if that is only its timeline.

        Raises:
            Fenced: another process holds the run; nothing was written.
            StoreError: a write was lost, now or before: the journal has a hole, and the run must be taken up anew.
        """
        for cycle in (self._committing, self._cycle):
            batch = None if cycle is None else cycle.batches.get(lease)
            if cycle is not None and batch is not None and (batch.binding or not binding):
                cycle.urgent = True
                cycle.look.set()
                await cycle.wait()
        if lease in self._lost:
            raise self._lost[lease]

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
        while self._committing is not None or self._cycle.batches:
            if self._committing is None:
                await self._commit()
            else:
                await self._committing.wait()

    async def _serve(self) -> None:
        while True:
            await self._filled.wait()
            await self._due(self._cycle)
            await self.drain() if self._committing is not None else await self._commit()

    async def _due(self, cycle: _Cycle) -> None:
        """Return when a cycle that has something is to be committed."""
        for _ in range(max(1, round(TIMELINE_S / DELAY_S))):
            timer = asyncio.get_running_loop().call_later(DELAY_S, cycle.look.set)
            try:
                await cycle.look.wait()
            finally:
                timer.cancel()
            if cycle.urgent or any(batch.binding for batch in cycle.batches.values()):
                return
            cycle.look.clear()

    async def _commit(self) -> None:
        cycle = self._committing = self._cycle
        self._cycle = _Cycle()
        self._filled.clear()
        try:
            if cycle.batches:
                self._lost |= await self._database.write(lambda c: self._apply(c, cycle))
        except Exception as error:  # noqa: BLE001  handed to every run that wrote; they stay resumable
            log.error("a commit was lost: %s", error)  # noqa: TRY400  the message says it all
            self._lost |= dict.fromkeys(cycle.batches, StoreError(f"a write was lost: {error}"))
        finally:
            self._committing = None
            cycle.end()
        for lease in cycle.batches:
            self._commits.notify(lease.run_id)

    def _apply(self, connection: sqlite3.Connection, cycle: _Cycle) -> dict[Lease, HostError]:
        lost: dict[Lease, HostError] = {}
        for lease, batch in cycle.batches.items():
            if lease in self._lost:
                continue  # what follows a hole must not be written
            if not claims.holds(connection, lease.run_id, self._worker, lease.epoch):
                lost[lease] = Fenced(f"run {lease.run_id} is held by another process now")
                continue
            if len(cycle.batches) == 1:
                batch.write(connection)
                break
            # One run's bad write must not take back what the others have written.
            connection.execute("SAVEPOINT run")
            try:
                batch.write(connection)
            except Exception as error:
                if not connection.in_transaction:
                    raise  # the disk's, which has taken back the writes of all
                connection.execute("ROLLBACK TO run")
                lost[lease] = StoreError(f"run {lease.run_id} could not be written: {error}")
            connection.execute("RELEASE run")
        return lost
