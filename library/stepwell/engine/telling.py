"""What a tool tells of its progress while it is called, on the run's timeline: the newest, once a second."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from stepwell.engine.book import Book
from stepwell.model import JsonObject
from stepwell.ports import Teller
from stepwell.ports.frames import Call

PAUSE_S = 1.0
MAX_TOLD = 1000  # by one call
MAX_TEXT = 500  # characters


@contextmanager
def telling(book: Book, call: Call) -> Generator[Teller, None, None]:
    """Give what a tool tells its progress with; what it tells after the call is nobody's."""
    loop = asyncio.get_running_loop()
    waiting: list[JsonObject] = []
    resting: asyncio.TimerHandle | None = None
    left = MAX_TOLD

    def tell(done: float | None, total: float | None, message: str) -> None:
        nonlocal left
        if left <= 0:
            return
        said = f"{call.name}: {message}" if message else call.name
        waiting[:] = [{"done": done, "total": total, "message": said[:MAX_TEXT]}]
        if resting is None:
            show()

    def show() -> None:
        nonlocal resting, left
        resting = None
        if waiting and left > 0:
            left -= 1
            book.event("progress", waiting.pop())
            resting = loop.call_later(PAUSE_S, show)

    try:
        yield tell
    finally:
        left = 0
        if resting is not None:
            resting.cancel()
