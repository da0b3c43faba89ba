"""`artifacts.*`: named values that outlive the run."""

import base64
import time
from typing import Any

import msgspec

from stepwell.engine.border import across_runs, plain, read_bytes
from stepwell.engine.keeping import put_within
from stepwell.engine.outcome import Answer, give
from stepwell.errors import InvalidArguments
from stepwell.model import JsonObject
from stepwell.ports.frames import Call
from stepwell.ports.limits import ArtifactLimits
from stepwell.sdk.codec import TAG
from stepwell.store import artifacts
from stepwell.store.artifacts import Artifact
from stepwell.store.database import Database

MAX_NAME = 200  # characters
MAX_LISTED = 1000  # names: with their descriptions and metadata they are in memory
MAX_METADATA = 16 * 1024  # bytes of JSON: lists of artifacts hold it


def read_artifact(call: Call, kwargs: JsonObject, run_id: str) -> Artifact:
    """Return what a call would save; without data if it would delete.

    Raises:
        InvalidArguments: the name is no text of 1 to 200 characters, or the data are bytes without base64.
    """
    data, kwargs = kwargs.get("data"), plain({key: value for key, value in kwargs.items() if key != "data"})
    name = _name(kwargs)
    media_type, content = ("", b"") if call.name == "artifacts.delete" else _encode(data)
    return Artifact(
        name, run_id, media_type, str(kwargs.get("description") or "")[:2000], _object(kwargs.get("metadata")),
        len(content), time.time(), content,
    )  # fmt: skip


async def act_on_artifact(database: Database, call: Call, artifact: Artifact, limits: ArtifactLimits) -> Answer:
    """Save it, or delete what has its name.

    Raises:
        TooLarge: it would be more than may be kept.
    """
    name, now = artifact.name, artifact.created_at
    if call.name == "artifacts.delete":
        return give(await database.write(lambda c: artifacts.delete_artifact(c, name, now)))
    await database.write(lambda c: put_within(c, call.key, artifact, limits))
    return give({"name": name, "media_type": artifact.media_type, "size": artifact.size})


async def query_artifact(database: Database, name: str, kwargs: JsonObject, run_id: str) -> Answer:
    """Load, list, or tell whether one exists. A name of the run itself wins over another run's."""
    if name == "artifacts.list":
        rows = await database.read(lambda c: artifacts.list_artifacts(c, limit=MAX_LISTED))
        return give([describe(row) for row in rows])
    wanted = _name(kwargs)
    found = await database.read(
        lambda c: artifacts.find_artifact(c, wanted, run_id) or artifacts.find_artifact(c, wanted)
    )
    if name == "artifacts.exists":
        return give(found is not None)
    return give(None) if found is None else Answer(_decode(found))


def describe(artifact: Artifact) -> JsonObject:
    """Return an artifact without its data."""
    return {
        "name": artifact.name,
        "media_type": artifact.media_type,
        "size": artifact.size,
        "description": artifact.description,
        "metadata": artifact.metadata,
        "run_id": artifact.run_id,
    }


def _name(kwargs: JsonObject) -> str:
    name = kwargs.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidArguments(f"an artifact's name is text of 1 to {MAX_NAME} printable characters")
    return name


def _object(value: Any) -> JsonObject:
    given: JsonObject = value if isinstance(value, dict) else {}
    if len(msgspec.json.encode(given)) > MAX_METADATA:
        raise InvalidArguments(f"an artifact's metadata are at most {MAX_METADATA} bytes of JSON; data may be larger")
    return given


def _encode(data: Any) -> tuple[str, bytes]:
    if isinstance(data, str):
        return "text/plain", data.encode()
    if isinstance(data, dict) and data.get(TAG) == "bytes":
        try:
            return "application/octet-stream", read_bytes(data)
        except ValueError:
            raise InvalidArguments("the artifact's data are tagged as bytes, but hold no base64") from None
    return "application/json", across_runs(msgspec.json.encode(data))


def _decode(artifact: Artifact) -> bytes:
    if artifact.media_type == "text/plain":
        return msgspec.json.encode(artifact.data.decode())
    if artifact.media_type == "application/json":
        return artifact.data
    return msgspec.json.encode({TAG: "bytes", "v": base64.b64encode(artifact.data).decode()})
