"""How many calls of a tool go out at one time, and in a span of time, from all processes of a home."""

import asyncio
import itertools
import logging
import random
import sqlite3
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from stepwell.errors import StoreError
from stepwell.ports import CallLimit
from stepwell.store import call_turns
from stepwell.store.call_turns import Lane, Place
from stepwell.store.database import Database

log = logging.getLogger(__name__)

POLL_S = 0.1  # how often is looked whether another process has let go: one read for each limit that is waited for
CLOCK_S = 30.0  # how often the wall clock is looked at where a span has to pass
RETRY_S = 1.0  # after the store could not be written


class Throttle:
    """Lets calls go on when they may. Of each process the first in line waits in the store: processes take turns.

    Calls without a limit never come here.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner
        self._numbers = itertools.count(1)
        self._orders: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._freed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._leaving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def turn(self, limits: Mapping[str, CallLimit]) -> AsyncGenerator[None, None]:
        """Wait until a call may be made, and count it until the context closes; all limits count."""
        async with AsyncExitStack() as held:
            for name in sorted(limits):  # everywhere in one order: none waits for who waits for it
                limit = limits[name]
                lane = Lane(name, limit.concurrency, limit.calls, limit.span_s)
                await held.enter_async_context(self._turn(lane))
            yield

    async def close(self) -> None:
        """Stop: what is not given back yet goes with the worker's row."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    @asynccontextmanager
    async def _turn(self, lane: Lane) -> AsyncGenerator[None, None]:
        call = Place(self._owner, next(self._numbers))
        async with self._orders[lane.name]:
            try:
                await self._take(lane, call)
            except BaseException:
                self._leave(lane, call)
                raise
        try:
            yield
        finally:
            if lane.concurrency is not None:
                self._leave(lane, call)

    async def _take(self, lane: Lane, call: Place) -> None:
        def take(connection: sqlite3.Connection) -> float | None:
            return call_turns.take_turn(connection, lane, call, time.time())

        def look(connection: sqlite3.Connection) -> float | None:
            return call_turns.turn_in(connection, lane, call, time.time())

        freed = self._freed[lane.name]
        while (left := await self._database.write(take)) != 0:
            while left != 0:
                wait_s = POLL_S * random.uniform(0.8, 1.2) if left is None else min(left, CLOCK_S)  # noqa: S311
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await freed.wait()
                freed.clear()
                left = await self._database.read(look)  # costs no write lock

    def _leave(self, lane: Lane, call: Place) -> None:
        # Not waited for: whoever has the answer goes on, and who is cancelled must not be held up.
        task = asyncio.create_task(self._give_back(lane, call))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _give_back(self, lane: Lane, call: Place) -> None:
        while True:
            try:
                await self._database.write(lambda c: call_turns.leave_turn(c, lane, call))
            except StoreError as error:
                log.error("a call of %s cannot be counted as over: %s", lane.name, error)  # noqa: TRY400  it says it all
                await asyncio.sleep(RETRY_S)
            else:
                break
        self._freed[lane.name].set()
