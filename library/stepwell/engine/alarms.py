"""The deadlines of one run's waits: one timer for all of them, since a guest can have a thousand at one moment."""

import asyncio
import heapq
import itertools
import time
from typing import Any

CLOCK_S = 30.0  # how often the wall clock is looked at: it may be set while the process sleeps
AT_ONCE = 10  # waits that go on in one turn of the event loop
SPARE = 100  # deadlines that are kept although nobody waits for them any more


class Alarms:
    """Wakes who waits for a moment of the wall clock."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, asyncio.Future[Any]]] = []
        self._numbers = itertools.count()
        self._live = 0
        self._timer: asyncio.TimerHandle | None = None
        """Set for the first of those that wait, or earlier."""

    def add(self, at: float, future: "asyncio.Future[Any]") -> None:
        """Give the future the result None at `at`, in unix seconds, unless it is done by then."""
        if len(self._waiting) > 2 * self._live + SPARE:
            self._waiting = [each for each in self._waiting if not each[2].done()]
            heapq.heapify(self._waiting)
        heapq.heappush(self._waiting, (at, next(self._numbers), future))
        self._live += 1
        future.add_done_callback(self._done)
        if self._timer is None or self._waiting[0][2] is future:
            self._set()

    def _done(self, _: "asyncio.Future[Any]") -> None:
        self._live -= 1
        if not self._live:
            self._waiting.clear()
            self._set()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            left = min(max(0.0, self._waiting[0][0] - time.time()), CLOCK_S)
            self._timer = asyncio.get_running_loop().call_later(left, self._look)

    def _look(self) -> None:
        now, woken = time.time(), 0
        while self._waiting and woken < AT_ONCE and self._waiting[0][0] <= now:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)
                woken += 1
        self._set()
