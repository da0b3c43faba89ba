"""What an upstream server lists, kept on disk so that nobody has to wait for it at a start."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stepwell.model import Json, JsonObject

if TYPE_CHECKING:
    from mcp.client.session import ClientSession

MAX_PAGES = 1000
MAX_TOOLS = 10_000
MAX_SCHEMA_BYTES = 64 * 1024
MAX_TEXT = 16 * 1024  # characters of a description, of which fewer are shown
MAX_LISTING_BYTES = 32 * 1024 * 1024  # of names, descriptions and schemas together
MAX_FILE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Listed:
    """One tool as its server describes it."""

    name: str
    description: str
    schema: JsonObject
    output: JsonObject | None
    hints: JsonObject
    """Its annotations: `readOnlyHint`, `destructiveHint`, `idempotentHint`, ..."""


async def fetch_listing(session: "ClientSession") -> list[Listed]:
    """Return all tools, page by page; what is beyond the bounds is left out.

    Raises:
        MCPError: the server answered with an error, or not at all.
    """
    from mcp.types import PaginatedRequestParams  # noqa: PLC0415  the SDK takes half a second to load

    found: list[Listed] = []
    cursors: set[str] = set()
    cursor: str | None = None
    left = MAX_LISTING_BYTES
    for _ in range(MAX_PAGES):
        page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
        for tool in page.tools:
            found.append(_read(tool.model_dump(by_alias=True, mode="json", exclude_none=True)))
            left -= len(msgspec.json.encode(found[-1]))
        cursor = page.next_cursor
        # A server that gives the same page for ever must not hold anybody up.
        if not cursor or cursor in cursors or len(found) >= MAX_TOOLS or left < 0:
            break
        cursors.add(cursor)
    return found[:MAX_TOOLS]


def load_listing(path: Path, digest: str) -> list[Listed] | None:
    """Return what was kept of a server with that digest; None if there is nothing that can be used."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        kept = msgspec.json.decode(path.read_bytes(), type=tuple[str, list[Listed]])
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None
    return kept[1] if kept[0] == digest else None


def keep_listing(path: Path, digest: str, listing: list[Listed]) -> None:
    """Write it so that a reader sees the old or the new one; a disk that is full keeps the old."""
    written = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        written.write_bytes(msgspec.json.encode((digest, listing)))
        written.replace(path)
    except OSError:
        written.unlink(missing_ok=True)


def _read(tool: JsonObject) -> Listed:
    output: Json = tool.get("outputSchema")
    return Listed(
        str(tool["name"]),
        str(tool.get("description") or tool.get("title") or "")[:MAX_TEXT],
        _schema(tool.get("inputSchema")),
        _schema(output) if isinstance(output, dict) else None,
        tool.get("annotations") or {},
    )


def _schema(schema: Json) -> JsonObject:
    # One that is too large to be checked in good time is left to the server itself.
    if not isinstance(schema, dict) or len(json.dumps(schema)) > MAX_SCHEMA_BYTES:
        return {"type": "object"}
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        return {"type": "object"}
    # `true` is a schema too; what shows a tool expects objects.
    kept = {name: found if isinstance(found, dict) else {} for name, found in properties.items()}
    return schema | {"properties": kept, "required": [name for name in required if isinstance(name, str)]}
