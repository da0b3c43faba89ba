"""Sandboxes for environments of packages: a zygote for each, started when a run needs it, ended when none has for long.

A zygote never loads packages itself; its children do, confined. It has its own because what it binds is all that its
children can see, and because children of one zygote share the layout of their memory.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stepwell.errors import SandboxUnavailable
from stepwell.ports.sandbox import Limits
from stepwell_sandbox.process import ConfinedProcess

MAX_IDLE = 4
"""Zygotes without a run that are kept, each of about 26 MiB."""
IDLE_S = 300.0
LOOK_S = 30.0


class Own(Protocol):
    """The sandbox of one environment."""

    @property
    def children(self) -> int:
        """How many processes of runs it has."""
        ...

    async def open(self, limits: Limits) -> ConfinedProcess:
        """Return a process that can import from the environment."""
        ...

    def __aexit__(self, *exc: object) -> Coroutine[Any, Any, None]: ...


@dataclass(slots=True)
class _Kept:
    sandbox: Own
    used_at: float
    opening: int = 0


class EnvironmentSandboxes:
    """Keeps them by the folder of their packages. `start` makes and enters one."""

    def __init__(self, start: Callable[[Path], Awaitable[Own]]) -> None:
        self._start = start
        self._kept: dict[Path, _Kept] = {}
        self._starting = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()
        """Of their own, as whoever made room for another may go away meanwhile."""
        self._closed = False
        self._keeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._kept)

    async def open(self, packages: Path, limits: Limits) -> ConfinedProcess:
        """Return a process that can import from `packages`.

        Raises:
            SandboxUnavailable: all are closed, or it cannot be started.
        """
        async with self._starting:
            if self._closed:
                raise SandboxUnavailable("the sandbox is closed")
            kept = self._kept.get(packages)
            if kept is None:
                kept = self._kept[packages] = _Kept(await self._start(packages), time.monotonic())
            kept.opening += 1
            self._end_idle()
        try:
            return await kept.sandbox.open(limits)
        finally:
            kept.opening -= 1
            kept.used_at = time.monotonic()
            if self._keeper is None:
                self._keeper = asyncio.create_task(self._keep(), name="stepwell-environments")

    async def close(self) -> None:
        """End all of them."""
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        async with self._starting:
            for path in list(self._kept):
                self._end(path)
        await asyncio.gather(*self._ending)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._end_idle()

    def _end_idle(self) -> None:
        idle = [path for path, kept in self._kept.items() if not kept.opening and not kept.sandbox.children]
        idle.sort(key=lambda path: self._kept[path].used_at)
        long_ago = time.monotonic() - IDLE_S
        over = len(self._kept) - MAX_IDLE
        for n, path in enumerate(idle):
            if n < over or self._kept[path].used_at < long_ago:
                self._end(path)

    def _end(self, path: Path) -> None:
        ending = asyncio.create_task(self._kept.pop(path).sandbox.__aexit__(None, None, None))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
