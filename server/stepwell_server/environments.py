"""Installed packages of a home: which are there, which of them a version uses, and deleting the others."""

import asyncio
import time
from dataclasses import dataclass

from stepwell.packages import Shelf, Shelved
from stepwell.store import packages
from stepwell.store.database import Database
from stepwell_server.home import Home

YOUNG_S = 3600.0
"""Environments that were made so lately may belong to a version that is just being stored."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The environments of a home."""

    used: tuple[Shelved, ...]
    unused: tuple[Shelved, ...]

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(item.bytes for item in (*self.used, *self.unused))


@dataclass(frozen=True, slots=True)
class Deleted:
    """What `delete_unused` has done, or would do."""

    environments: int
    environment_bytes: int


async def list_environments(home: Home, database: Database) -> Listed:
    """Return the environments that a stored version uses, and the others."""
    shelf = Shelf(home.environments)
    listed = await asyncio.to_thread(shelf.list)
    uses = await database.read(packages.count_uses)
    return Listed(
        tuple(item for item in listed if item.id in uses), tuple(item for item in listed if item.id not in uses)
    )


async def delete_unused(home: Home, database: Database, *, dry_run: bool) -> Deleted:
    """Delete the environments that no stored version uses."""
    before = time.time() - YOUNG_S
    unused = (await list_environments(home, database)).unused
    if dry_run:
        sizes = [item.bytes for item in unused if item.used_at < before]
    else:
        shelf = Shelf(home.environments)
        await asyncio.to_thread(shelf.sweep)
        sizes = [await asyncio.to_thread(shelf.remove, item.id, before) for item in unused]
    return Deleted(sum(1 for size in sizes if size), sum(sizes))
