"""Deadlines of the body: `asyncio.timeout`, `wait_for`, `wait(timeout=...)`.

Near ones run on the real clock, far ones are timers of the host. That one has passed is a delivery like an outcome:
recorded with its place in the order, and on a replay it happens in that place and at no other time.
"""

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, Protocol

from stepwell.sdk.scope import current_scope
from stepwell_sandbox.guest.pending import Pending


class Deadlines(Protocol):
    """What a deadline asks of the runtime."""

    def deadline(self, key: str, delay_s: float, on_turn: Callable[[], None]) -> tuple[Pending, bool]:
        """Return what stands for the deadline, and whether something else than this process keeps it."""
        ...

    def drop(self, pending: Pending) -> None:
        """Nobody waits for it any more."""
        ...

    def passed(self, pending: Pending) -> None:
        """The deadline has passed."""
        ...


_plain_reschedule = asyncio.Timeout.reschedule


def _reschedule(self: asyncio.Timeout, when: float | None) -> None:
    scope = current_scope()
    if when is None or scope is None or not scope.ordered:
        _plain_reschedule(self, when)
        return
    # Whether it is past at its beginning depends on the machine: asyncio would pass by `call_at` then.
    _plain_reschedule(self, None)
    timeout: Any = self
    timeout._when = when
    timeout._timeout_handler = asyncio.get_running_loop().call_at(when, timeout._on_timeout)


class _Deadline:
    """What `loop.call_at` returns in the body: a handle whose callback runs in its recorded turn."""

    _source_traceback = None  # `call_later` of the loop cuts it

    def __init__(self, loop: Any, when: float, run: Callable[[], None], runtime: Deadlines, key: str) -> None:
        self._loop = loop
        self._when = when
        self._run = run
        self._cancelled = False
        self._timer: asyncio.TimerHandle | None = None
        self._runtime = runtime
        self._pending, kept = runtime.deadline(key, when - loop.time(), self._turn)
        if not kept:
            self._timer = loop.call_real_at(when, runtime.passed, self._pending)

    def cancel(self) -> None:
        """The deadline no longer matters."""
        self._cancelled = True
        if self._timer is not None:
            self._timer.cancel()
        elif not self._pending.done:
            self._runtime.drop(self._pending)

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._cancelled

    def when(self) -> float:
        """Return the time on the loop's clock."""
        return self._when

    def _turn(self) -> None:
        if not self._cancelled:
            self._run()


def install_deadlines(loop: Any, runtime: Deadlines) -> None:
    """Make `call_at` of the loop a deadline wherever the body calls it."""
    asyncio.Timeout.reschedule = _reschedule
    loop.call_real_at = loop.call_at

    def call_at(when: float, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:
        scope = current_scope()
        if scope is None or not scope.ordered:
            return loop.call_real_at(when, callback, *args, context=context)
        within = context or contextvars.copy_context()

        def run() -> None:
            loop.call_soon(callback, *args, context=within)

        return _Deadline(loop, when, run, runtime, scope.key("deadline"))

    loop.call_at = call_at
