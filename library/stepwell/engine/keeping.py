"""Bytes that tools answer with, kept as artifacts of the run that called."""

import hashlib
import mimetypes
import time

from stepwell.engine.book import Book
from stepwell.model import JsonObject
from stepwell.ports import Binary, Saver
from stepwell.ports.frames import Call
from stepwell.store import artifacts
from stepwell.store.artifacts import Artifact
from stepwell.store.runs import RunRow

MAX_KEY = 150  # characters of a call's key in the name of an artifact


def make_saver(book: Book, run: RunRow, call: Call) -> Saver:
    """Return what keeps the bytes of one call; they are on disk with its outcome."""
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
            name, run.id, binary.media_type, said, {"tool": call.name}, len(binary.data), time.time(), binary.data
        )
        # A call that is repeated may answer with something else: the newest of a name is found.
        book.write(lambda c: artifacts.put_artifact(c, f"{call.key}!kept{kept}:{digest[:12]}", artifact))
        return {"artifact": name, "media_type": binary.media_type, "size": len(binary.data)}

    return save
