"""Long work on what a workflow has sent, beside the event loop, so that it holds up nobody else.

One thread for the whole process: several would each take their turn at the interpreter before the event loop gets
its own. Each run has an `Aside` of its own, which has one piece of work in the queue at a time; so runs take turns.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from stepwell.model.json import Json, JsonObject

P = ParamSpec("P")
T = TypeVar("T")

SMALL_BYTES = 2048
"""What is done with less than this takes no longer than handing it to the thread does, or not much."""

LARGE = 1024 * 1024
"""The size to name for what is not small, where nobody knows how large it is."""

SMALL_VALUE, SMALL_COUNT = 200, 20  # characters, values: work on so few takes no time

_thread = ThreadPoolExecutor(1, thread_name_prefix="stepwell-aside")


class Aside:
    """The long work of one run or process, in the order in which it was asked for."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work` returns. It takes a time that grows with `size`, in bytes, and touches nothing shared."""
        if size <= SMALL_BYTES:
            return work(*args, **kwargs)
        async with self._turn:
            return await asyncio.get_running_loop().run_in_executor(_thread, lambda: work(*args, **kwargs))


def size_of(values: JsonObject) -> int:
    """Return 0 for a few short values, else `LARGE`."""
    if len(values) > SMALL_COUNT or any(
        isinstance(value, dict | list) or (isinstance(value, str) and len(value) > SMALL_VALUE)
        for value in values.values()
    ):
        return LARGE
    return 0


def size_of_value(value: Json) -> int:
    """Return the bytes of a value, about; what has parts is taken for large without looking."""
    return LARGE if isinstance(value, dict | list) else len(value) if isinstance(value, str) else 0
