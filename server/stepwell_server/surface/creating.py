"""Creating a workflow on behalf of a client: bounded, also where its packages take long to install."""

import asyncio
import time

from stepwell.catalog.catalog import Created
from stepwell.model import JsonObject
from stepwell_server.surface.arguments import CreateWorkflow
from stepwell_server.surface.table import Call

PATIENCE_S = 20.0
"""How long a call waits for packages; clients give up after a minute or so."""
TELL_S = 1.0


async def create(call: Call, given: CreateWorkflow, source: str) -> Created | JsonObject:
    """Store a workflow; where its packages are still being installed, return what to say instead.

    Raises:
        RequestError: it cannot be stored.
        PackagesUnavailable: its packages cannot be installed now.
    """
    said: list[str] = []
    working = asyncio.ensure_future(
        call.app.catalog.create(
            given.name,
            source,
            description=given.description,
            intents=given.intents,
            tags=given.tags,
            replace=given.replace,
            entry=given.entry,
            dry_run=given.dry_run,
            origin=f"run:{given.from_run}" if given.from_run else "client",
            tell=said.append,
        )
    )
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
    if not working.cancelled():
        return working.result()
    return {
        "created": False,
        "name": given.name,
        "preparing": said[-1] if said else "installing packages",
        "next": "Its packages are being installed. Call create_workflow again with the same arguments: it takes up "
        "where this one was.",
    }
