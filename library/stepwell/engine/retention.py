"""Deleting what is old, in transactions so small that nobody waits for them."""

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from stepwell.errors import StoreError
from stepwell.store import retention
from stepwell.store.database import Database

log = logging.getLogger(__name__)

FIRST_S = 60.0  # after the start of a process
EVERY_S = 3600.0
FAMILIES = 50  # runs listed at one time
PAGES = 500  # given back in one transaction


@dataclass(frozen=True, slots=True)
class Collected:
    """What was deleted."""

    runs: int = 0
    events: int = 0
    versions: int = 0
    blobs: int = 0
    bytes: int = 0
    """By which the file has become smaller."""


async def collect(
    database: Database, before: float, *, artifacts: bool = False, dry_run: bool = False, rewrite: bool = False
) -> Collected:
    """Delete runs that ended before a time (unix seconds), and what nothing refers to any more.

    Artifacts stay, unless `artifacts` says otherwise. With `dry_run` nothing is deleted and only runs are counted.
    With `rewrite` a file that cannot give pages back is written anew, during which others cannot write.
    """
    if dry_run:
        return Collected(runs=await database.read(lambda c: retention.count_old_runs(c, before)))
    size = database.size()
    done = Collected(runs=await _collect_runs(database, before, artifacts=artifacts))
    done = replace(done, events=await _repeat(database, lambda c: retention.delete_old_events(c, before)))
    await database.write(lambda c: retention.delete_hidden(c, before))
    done = replace(done, versions=await _repeat(database, lambda c: retention.delete_unused_versions(c, before)))
    done = replace(done, blobs=await _collect_blobs(database))
    await _shrink(database, rewrite=rewrite)
    return replace(done, bytes=max(0, size - database.size()))


async def _collect_runs(database: Database, before: float, *, artifacts: bool) -> int:
    count = 0
    while found := await database.read(lambda c: retention.list_old_runs(c, before, FAMILIES)):
        deleted = 0
        for run_id in found:
            while await database.write(lambda c, run_id=run_id: retention.shorten_run(c, run_id, before)):
                pass
            deleted += await database.write(
                lambda c, run_id=run_id: retention.delete_run(c, run_id, before, artifacts=artifacts)
            )
        count += deleted
        if not deleted:
            break  # taken up again meanwhile
    return count


async def _repeat(database: Database, portion: Callable[[sqlite3.Connection], int]) -> int:
    total = 0
    while done := await database.write(portion):
        total += done
    return total


async def _collect_blobs(database: Database) -> int:
    total, after = 0, ""
    while True:
        deleted, last = await database.write(lambda c, after=after: retention.delete_unused_blobs(c, after))
        if last is None:
            return total
        total, after = total + deleted, last


async def _shrink(database: Database, *, rewrite: bool) -> None:
    free = await database.read(retention.count_free_pages)
    while free > 0:
        if not await database.write(lambda c: retention.give_pages_back(c, PAGES)):
            if rewrite:
                await database.run(retention.rewrite_file)
            break
        left = await database.read(retention.count_free_pages)
        if left >= free:
            break
        free = left
    await database.run(retention.truncate_log)


@asynccontextmanager
async def collecting(database: Database, ended_after: float | None) -> AsyncGenerator[None, None]:
    """Delete runs that ended so many seconds ago, now and then, while the context is open; None: never."""
    if ended_after is None:
        yield
        return
    task = asyncio.create_task(_collect_forever(database, ended_after))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _collect_forever(database: Database, ended_after: float) -> None:
    pause = FIRST_S
    while True:
        # Jitter keeps several processes of one home from doing the same at the same time.
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311
        pause = EVERY_S
        try:
            done = await collect(database, time.time() - ended_after)
        except StoreError as error:
            log.error("old runs could not be deleted: %s", error)  # noqa: TRY400  the message says it all
        else:
            if done.runs:
                log.info("%d runs that ended long ago were deleted", done.runs)
