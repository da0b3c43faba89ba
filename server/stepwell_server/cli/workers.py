"""Which processes execute runs on this home now."""

import time

from stepwell.engine.lease import boot_id, is_dead
from stepwell.store import workers
from stepwell_server.app import App


async def serving(app: App) -> list[int]:
    """Return the process ids of the others that take up runs of this home."""
    moment = time.monotonic()
    alive = await app.database.read(lambda c: workers.list_workers(c, boot_id(), moment))
    return [int(worker.split("-")[1]) for worker in alive if not is_dead(app.home.path / "workers", worker)]
