"""How many calls of a tool go out at one time, and in a span of time."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class CallLimit:
    """Of all calls together that a pattern covers, in this process."""

    concurrency: int | None = None
    calls: int | None = None
    """At most so many begin in `span_s` seconds."""
    span_s: float = 1.0


class Throttle:
    """Lets calls go on when they may, in the order in which they came."""

    def __init__(self, limits: Mapping[str, CallLimit]) -> None:
        self._lanes = {pattern: _Lane(limit) for pattern, limit in limits.items()}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncGenerator[None, None]:
        """Wait until a call of the tool may be made, and count it until the context closes; all patterns count."""
        async with AsyncExitStack() as held:
            for pattern, lane in self._lanes.items():  # always in one order: none waits for who waits for it
                if fnmatchcase(name, pattern):
                    await held.enter_async_context(lane.turn())
            yield


@dataclass(slots=True)
class _Lane:
    limit: CallLimit
    begun: deque[float] = field(default_factory=deque[float])
    places: asyncio.Semaphore | None = None
    order: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        if self.limit.concurrency is not None:
            self.places = asyncio.Semaphore(self.limit.concurrency)

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as held:
            if self.places is not None:
                await held.enter_async_context(self.places)
            if self.limit.calls is not None:
                async with self.order:
                    await self._begin(self.limit.calls)
            yield

    async def _begin(self, calls: int) -> None:
        clock = asyncio.get_running_loop().time
        if len(self.begun) >= calls and (left := self.begun[0] + self.limit.span_s - clock()) > 0:
            await asyncio.sleep(left)
        if len(self.begun) >= calls:
            self.begun.popleft()
        self.begun.append(clock())
