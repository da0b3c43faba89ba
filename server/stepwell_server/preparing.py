"""What a server loads by itself once its client has had its first answers, so that nobody waits for it later."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stepwell.store import spending
from stepwell_server.app import App

AFTER_S = 5.0


@asynccontextmanager
async def preparing(app: App) -> AsyncGenerator[None, None]:
    """Where the home has agents or has asked models before, load the SDK that asks them: it takes a second or more."""
    task = asyncio.create_task(_prepare(app))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _prepare(app: App) -> None:
    await asyncio.sleep(AFTER_S)
    if app.settings.agents or await app.database.read(spending.has_calls):
        app.models.prepare()
