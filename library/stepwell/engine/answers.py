"""The tasks that answer the calls of one guest, of which it may have a thousand at one time."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

CANCELLED_AT_ONCE = 25
"""In one turn of the event loop: each takes about 10 us."""


class Answers:
    """Keeps the tasks until each has ended."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begin with an answer."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    async def watch(self) -> None:
        """Raise what the first task raises that fails."""
        await self._failed

    async def end(self) -> None:
        """Cancel what still goes on, a few in each turn of the event loop, and return when it has ended."""
        left = deque(self._tasks)
        try:
            while left:
                for _ in range(min(len(left), CANCELLED_AT_ONCE)):
                    left.popleft().cancel()
                await asyncio.sleep(0)
        finally:
            for task in left:  # who waits for this is cancelled itself
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        del self._tasks[task]
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)
