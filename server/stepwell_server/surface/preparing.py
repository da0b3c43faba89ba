"""Waiting for packages on behalf of a client: bounded, and with progress."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from stepwell.ports.packages import Tell
from stepwell_server.surface.table import Call

T = TypeVar("T")
PATIENCE_S = 20.0
"""How long a call waits for packages; clients give up after a minute or so."""
TELL_S = 1.0


@dataclass(frozen=True, slots=True)
class Preparing:
    """Packages are still being installed, which goes on."""

    said: str
    """What is being done."""


async def patiently(call: Call, work: Callable[[Tell], Coroutine[Any, Any, T]]) -> T | Preparing:
    """Return what work that may need packages comes to, telling the client what is being done meanwhile."""
    said: list[str] = []
    working = asyncio.create_task(work(said.append))
    deadline = time.monotonic() + PATIENCE_S
    told = 0
    try:
        while time.monotonic() < deadline:
            done, _ = await asyncio.wait([working], timeout=min(TELL_S, PATIENCE_S))
            if done:
                return working.result()
            if call.context is not None and len(said) > told:
                told = len(said)
                await call.context.report_progress(told, None, said[-1])
    finally:
        working.cancel()
        await asyncio.wait([working])
    return Preparing(said[-1] if said else "installing packages") if working.cancelled() else working.result()
