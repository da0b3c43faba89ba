"""How much of what guests send is taken up in one turn of the event loop, by all of them together.

Each frame makes the engine work; without a bound a few guests that send as fast as they can would fill one turn
with so many that everybody else waits for long.
"""

import asyncio
from collections import deque
from weakref import WeakKeyDictionary

TURN_FRAMES = 64
TURN_BYTES = 32 * 1024


class Turns:
    """The bounds of one event loop. Who comes too late waits for a later turn, in the order of coming."""

    def __init__(self) -> None:
        self.frames = TURN_FRAMES
        self.bytes = TURN_BYTES
        self._renewing = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def spent(self) -> bool:
        """Whether nothing is left of this turn."""
        return self.frames <= 0 or self.bytes <= 0

    async def wait(self) -> None:
        """Return when there is something left of this turn, or of a later one."""
        while self.spent:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn

    def spend(self, frames: int, size: int) -> None:
        """Note what was taken up; a single frame may be larger than what was left."""
        self.frames -= frames
        self.bytes -= size
        # Little at a time needs no bound: what was spent in turns before counts until there is more of it.
        if not self._renewing and (self.frames < TURN_FRAMES * 3 // 4 or self.bytes < TURN_BYTES * 3 // 4):
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        self._renewing = False
        self.frames, self.bytes = TURN_FRAMES, TURN_BYTES
        for _ in range(min(TURN_FRAMES, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


def turns() -> Turns:
    """Return the turns of the running event loop."""
    return _turns.setdefault(asyncio.get_running_loop(), Turns())
