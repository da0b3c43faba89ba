"""Work for one connection: what comes while it is busy is done together, in one turn of its thread.

A turn takes longer than most of what is done in it, and a transaction of one's own waits for the disk alone.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
Outcome = tuple[Any, Exception | None]

LONG_S = 0.005  # after so long the rest waits for the next turn, as who came first shall not wait for all others


class Together:
    """The queue before a connection."""

    def __init__(
        self,
        run: Callable[[Callable[[sqlite3.Connection], list[Outcome]]], Awaitable[list[Outcome]]],
        perform: Callable[[sqlite3.Connection, Sequence[Work]], list[Outcome]],
    ) -> None:
        """Begin with none: `run` calls a function in the thread, `perform` returns what became of the first ones."""
        self._run = run
        self._perform = perform
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._busy = False

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` returns. It is done also for a caller that is cancelled meanwhile."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, outcome))
        if not self._busy:
            self._begin()
        return await outcome

    def _begin(self) -> None:
        self._busy = True
        group, self._waiting = self._waiting, []
        works = [work for work, _ in group]
        turn = asyncio.ensure_future(self._run(lambda connection: self._perform(connection, works)))
        turn.add_done_callback(partial(self._end, group))

    def _end(self, group: list[tuple[Work, "asyncio.Future[Any]"]], turn: "asyncio.Future[list[Outcome]]") -> None:
        self._busy = False
        done = len(group)
        if turn.cancelled():
            for _, outcome in group:
                outcome.cancel()
        elif (failed := turn.exception()) is not None:
            for _, outcome in group:
                _settle(outcome, None, failed)
        else:
            done = len(turn.result())
            for (_, outcome), (value, error) in zip(group, turn.result(), strict=False):
                _settle(outcome, value, error)
        self._waiting[:0] = group[done:]
        if self._waiting:
            self._begin()


def in_time(works: Sequence[Work]) -> Iterator[Work]:
    """Yield the first, and more while there is time."""
    until = time.monotonic() + LONG_S
    for work in works:
        yield work
        if time.monotonic() > until:
            return


def attempt(work: Work, connection: sqlite3.Connection) -> Outcome:
    """Return the value or the error of `work`."""
    try:
        return work(connection), None
    except Exception as error:  # noqa: BLE001  for who asked for it
        return None, error


def _settle(outcome: "asyncio.Future[Any]", value: object, error: BaseException | None) -> None:
    if outcome.done():
        return
    if error is None:
        outcome.set_result(value)
    else:
        outcome.set_exception(error)
