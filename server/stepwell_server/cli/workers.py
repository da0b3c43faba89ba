"""Which processes execute runs on a home now."""

import time

from stepwell.engine.lease import boot_id, is_dead
from stepwell.store import workers
from stepwell.store.database import Database
from stepwell_server.home import Home


async def serving(home: Home, database: Database) -> list[int]:
    """Return the process ids of the others that take up runs of this home."""
    moment = time.monotonic()
    alive = await database.read(lambda c: workers.list_workers(c, boot_id(), moment))
    return [int(worker.split("-")[1]) for worker in alive if not is_dead(home.path / "workers", worker)]
