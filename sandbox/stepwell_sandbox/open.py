"""The way in: open a sandbox, or ask what this machine can isolate."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from stepwell.ports.limits import Limits
from stepwell_sandbox.facts import read_facts
from stepwell_sandbox.interpreter import find_interpreter
from stepwell_sandbox.levels import climb
from stepwell_sandbox.link import Machine
from stepwell_sandbox.report import Report, describe
from stepwell_sandbox.sandbox import ConfinedSandbox
from stepwell_sandbox.scratch import Folder


@asynccontextmanager
async def open_sandbox(
    *, minimum: str = "B", pool: int = 2, scratch_root: Path | None = None, limits: Limits | None = None
) -> AsyncGenerator[ConfinedSandbox]:
    """Open the strongest sandbox of this machine, which starts in the background; the first `open` waits for it.

    Args:
        minimum: The weakest level to accept: A, A2, B, C, or none.
        pool: How many confined processes are kept ready, each of about 3 MiB. With 0 nothing starts before it is used.
        scratch_root: Where its folder is made; the system's temporary folder by default.
        limits: The limits of the processes kept ready; runs with others wait some milliseconds for theirs.
    """
    async with ConfinedSandbox(minimum=minimum, pool=pool, scratch_root=scratch_root, limits=limits) as sandbox:
        yield sandbox


async def probe(minimum: str = "B", scratch_root: Path | None = None) -> Report:
    """Return what this machine can isolate, found by starting and testing it. Takes up to a second.

    Raises:
        ConfigError: there is no level of that name.
    """
    if sys.platform == "win32":
        return describe(minimum, "", read_facts(0), (("A", "this system cannot isolate workflows"),), ())
    folder = await asyncio.to_thread(Folder, scratch_root)
    try:
        report, link = await climb(minimum, Machine(await asyncio.to_thread(find_interpreter), folder))
        if link:
            await link.close()
    finally:
        await asyncio.to_thread(folder.remove)
    return report
