"""What a run keeps as artifacts, within the operator's limits; bytes that tools answer with among it."""

import asyncio
import hashlib
import mimetypes
import sqlite3
import time

from stepwell.engine.book import Book
from stepwell.errors import TooLarge, ToolFailure
from stepwell.model import JsonObject
from stepwell.ports import Binary
from stepwell.ports import Saver as Save
from stepwell.ports.frames import Call
from stepwell.ports.limits import ArtifactLimits
from stepwell.store import artifacts
from stepwell.store.artifacts import Artifact
from stepwell.store.database import Database
from stepwell.store.runs import RunRow

MAX_KEY = 150  # characters of a call's key in the name of an artifact


def put_within(connection: sqlite3.Connection, key: str, artifact: Artifact, limits: ArtifactLimits) -> None:
    """Save as `artifacts.put_artifact` does.

    Raises:
        TooLarge: it would be more than may be kept.
    """
    if not artifacts.is_saved(connection, artifact.run_id, key):
        _check(connection, artifact, limits)
        artifacts.put_artifact(connection, key, artifact)


class Saver:
    """Keeps the bytes that tools answer a run with; they are on disk with the outcome of their call."""

    def __init__(self, database: Database, book: Book, run: RunRow, limits: ArtifactLimits) -> None:
        self._database, self._book, self._run, self._limits = database, book, run, limits
        self._counting = asyncio.Lock()

    def of(self, call: Call) -> Save:
        """Return what keeps the bytes of one call."""
        kept = 0

        async def save(binary: Binary) -> JsonObject:
            nonlocal kept
            kept += 1
            digest = hashlib.sha256(binary.data).hexdigest()
            stem = call.key if len(call.key) <= MAX_KEY else hashlib.sha256(call.key.encode()).hexdigest()[:32]
            suffix = mimetypes.guess_extension(binary.media_type) or ""
            name = f"{stem}.{kept}{suffix}"
            said = f"Part {kept} of what {call.name} answered"
            artifact = Artifact(
                name, self._run.id, binary.media_type, said, {"tool": call.name}, len(binary.data), time.time(),
                binary.data,
            )  # fmt: skip
            # A call that is repeated may answer with something else: the newest of a name is found.
            await self._put(call, f"{call.key}!kept{kept}:{digest[:12]}", artifact)
            return {"artifact": name, "media_type": binary.media_type, "size": len(binary.data)}

        return save

    async def _put(self, call: Call, key: str, artifact: Artifact) -> None:
        async with self._counting:
            await self._book.settled()  # with what was kept before
            try:
                await self._database.read(lambda c: _check(c, artifact, self._limits))
            except TooLarge as error:
                raise ToolFailure(
                    f"{call.name} has answered, and {error.message}", tool=call.name, code=error.code, hint=error.hint
                ) from error
            self._book.write(lambda c: artifacts.put_artifact(c, key, artifact))


def _check(connection: sqlite3.Connection, artifact: Artifact, limits: ArtifactLimits) -> None:
    if artifact.size > limits.each:
        raise _too_large(f"the artifact {artifact.name!r} has {artifact.size:,} bytes", "max_bytes", limits.each)
    if artifacts.used_bytes(connection, artifact.run_id) + artifact.size > limits.run:
        raise _too_large("the artifacts of this run would have more", "run_bytes", limits.run)
    if limits.home is not None and artifacts.used_bytes(connection) + artifact.size > limits.home:
        raise _too_large("the artifacts of all runs together would have more", "home_bytes", limits.home)


def _too_large(said: str, name: str, limit: int) -> TooLarge:
    return TooLarge(
        f"{said}, the limit is {limit:,} bytes",
        hint=f"Delete what is not needed with artifacts.delete(name), or the operator raises [artifacts] {name}.",
    )
