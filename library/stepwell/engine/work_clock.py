"""How long a run works: the time in which it does not only wait."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class WorkClock:
    """Counts while it is on, and ends what it bounds when as much is spent as was left."""

    def __init__(self, left_s: float) -> None:
        self.spent_s = 0.0
        self._left_s = left_s
        self._since: float | None = None
        self._timeout: asyncio.Timeout | None = None

    def turn(self, *, on: bool) -> None:
        """Count from now on, or no longer."""
        if on == (self._since is not None):
            return
        now = asyncio.get_running_loop().time()
        if self._since is not None:
            self.spent_s += now - self._since
        self._since = now if on else None
        if self._timeout is not None:
            self._timeout.reschedule(now + max(0.0, self._left_s - self.spent_s) if on else None)

    @asynccontextmanager
    async def bound(self) -> AsyncGenerator[None, None]:
        """Count while the context is open, unless it is turned off.

        Raises:
            TimeoutError: all that was left is spent.
        """
        async with asyncio.timeout(None) as timeout:
            self._timeout = timeout
            self.turn(on=True)
            try:
                yield
            finally:
                self._timeout = None
                self.turn(on=False)
