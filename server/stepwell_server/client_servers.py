"""MCP servers as clients' configuration files name them, read as `[mcp_servers.NAME]`.

Claude Desktop, Claude Code and Cursor: `{"mcpServers": {NAME: ...}}`. VS Code: `{"servers": {NAME: ...}}` in
`mcp.json`, below `mcp` in `settings.json`; with comments and trailing commas.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stepwell.errors import InvalidArguments
from stepwell.model import Json, JsonObject
from stepwell.tools.messages import clean
from stepwell_server.tool_settings import McpServerSettings

MAX_SERVERS = 200
_KEPT = ("command", "args", "env", "cwd", "url", "headers", "disabled")
_KNOWN = {*_KEPT, "type", "timeout", "description", "name", "serverUrl", "httpUrl"}
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[\]}])', re.DOTALL)
_VARIABLE = re.compile(r"\$\{(?:(env|input):)?([^}]*)\}")


@dataclass(slots=True)
class Found:
    """What a file holds."""

    servers: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """Ready for `[mcp_servers.NAME]`."""
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    """Names and reasons."""
    notes: list[str] = field(default_factory=list[str])
    """What the operator has to look at."""


def read_client_servers(text: str, path: Path) -> Found:
    """Return the servers of a client's configuration.

    Raises:
        InvalidArguments: it is no JSON, or names no servers in a way that is known.
    """
    try:
        document: Any = json.loads(_TOKEN.sub(lambda found: found[0] if found[0].startswith('"') else "", text))
    except (ValueError, RecursionError) as error:
        raise InvalidArguments(f"{path} is no JSON: {error}") from error
    found = Found()
    for name, entry in list(_servers(document, path).items())[:MAX_SERVERS]:
        try:
            found.servers[name] = _read(name, entry, path, found.notes)
        except ValueError as error:
            found.skipped[name] = clean(str(error), 300)
    return found


def _servers(document: Json, path: Path) -> Mapping[str, Json]:
    if isinstance(document, dict):
        places = (document.get("mcpServers"), document.get("servers"), (document.get("mcp") or {}).get("servers"))
        for servers in places:
            if isinstance(servers, dict):
                return servers
    raise InvalidArguments(
        f"{path} names no MCP servers.",
        hint='It must be an object with "mcpServers" (Claude, Cursor) or "servers" (VS Code).',
    )


def _read(name: str, entry: Json, path: Path, notes: list[str]) -> JsonObject:
    if not isinstance(entry, dict):
        raise ValueError("it is no object")  # noqa: TRY004  a wrong file, not a wrong call
    if _is_stepwell(entry):
        raise ValueError("it is Stepwell itself")
    kind = str(entry.get("type") or entry.get("transport") or "")
    if kind == "sse":
        raise ValueError("its transport, HTTP with SSE, was replaced by Streamable HTTP and is not supported")
    kept = {key: entry[key] for key in _KEPT if entry.get(key) not in (None, [], {}, False)}
    if url := entry.get("serverUrl") or entry.get("httpUrl"):
        kept["url"] = url
    kept = {key: _translated(name, value, path, notes) for key, value in kept.items()}
    if isinstance(entry.get("timeout"), int | float) and entry["timeout"] > 0:
        kept["timeout_s"] = min(entry["timeout"] / 1000, 3600)
    if unknown := sorted(entry.keys() - _KNOWN - {"transport"}):
        notes.append(clean(f"{name}: {', '.join(unknown)} is not taken over", 300))
    try:
        McpServerSettings.model_validate(kept)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"].removeprefix("Value error, ")) from error
    return kept


def _is_stepwell(entry: JsonObject) -> bool:
    words = [str(entry.get("command", "")), *(str(word) for word in entry.get("args") or [])]
    return any(re.search(r"(^|[/\\])stepwell(\.exe)?$|^stepwell_server", word) for word in words) and "serve" in words


def _translated(name: str, value: Json, path: Path, notes: list[str]) -> Json:
    if isinstance(value, list):
        return [_translated(name, item, path, notes) for item in value]
    if isinstance(value, dict):
        return {key: _translated(name, item, path, notes) for key, item in value.items()}
    if not isinstance(value, str):
        return value

    def variable(found: re.Match[str]) -> str:
        kind, named = found[1], found[2]
        if kind == "input":
            made = re.sub(r"\W", "_", named).upper()
            note = f"{name}: the client asks for {named}; set the environment variable {made} for Stepwell instead"
            if note not in notes:
                notes.append(clean(note, 300))
            return f"${{{made}}}"
        if kind == "env":
            return f"${{{named}}}"
        return {"workspaceFolder": str(_workspace(path)), "userHome": str(Path.home())}.get(named, found[0])

    return _VARIABLE.sub(variable, value)


def _workspace(path: Path) -> Path:
    folder = path.absolute().parent
    return folder.parent if folder.name in (".vscode", ".cursor") else folder
