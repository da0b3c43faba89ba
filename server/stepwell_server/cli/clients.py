"""The MCP clients whose configuration `stepwell setup` knows: where it is and what it looks like."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepwell.model import JsonObject


@dataclass(frozen=True, slots=True)
class Client:
    """One client's configuration file."""

    title: str
    """Its name for people."""
    format: Literal["json", "toml"]
    key: str
    """The table of servers in the file."""
    typed: bool
    """Whether an entry says `"type": "stdio"`."""
    after: str
    """What the person has to do then."""


CLIENTS = {
    "claude-desktop": Client("Claude Desktop", "json", "mcpServers", typed=False, after="Quit and restart it."),
    "claude-code": Client("Claude Code", "json", "mcpServers", typed=True, after="Start a new session; /mcp lists it."),
    "cursor": Client("Cursor", "json", "mcpServers", typed=False, after="Restart it, or reload MCP in its settings."),
    "vscode": Client("VS Code", "json", "servers", typed=True, after="Run `MCP: List Servers` and start it there."),
    "codex": Client("Codex", "toml", "mcp_servers", typed=False, after="Start a new session; /mcp lists it."),
    "gemini": Client("Gemini CLI", "json", "mcpServers", typed=False, after="Start a new session; /mcp lists it."),
}


def config_path(client: str, platform: str, environment: Mapping[str, str], user: Path) -> Path:
    """Return the client's user-wide configuration file; `platform` as in `sys.platform`."""
    match client:
        case "claude-desktop":
            return _app_data(platform, environment, user) / "Claude" / "claude_desktop_config.json"
        case "claude-code":
            return Path(environment.get("CLAUDE_CONFIG_DIR") or user) / ".claude.json"
        case "cursor":
            return user / ".cursor" / "mcp.json"
        case "vscode":
            return _app_data(platform, environment, user) / "Code" / "User" / "mcp.json"
        case "codex":
            return Path(environment.get("CODEX_HOME") or user / ".codex") / "config.toml"
        case _:
            return user / ".gemini" / "settings.json"


def server_command() -> list[str]:
    """Return the absolute command that starts this Stepwell: its script, else this Python with the module."""
    script = Path(sys.executable).parent / ("stepwell.exe" if sys.platform == "win32" else "stepwell")
    if script.is_file() and os.access(script, os.X_OK):
        return [str(script.absolute())]
    return [str(Path(sys.executable).absolute()), "-m", "stepwell_server.cli"]


def server_entry(client: Client, command: list[str], home: Path | None) -> JsonObject:
    """Return what stands under the server's name; a home is written only where it is not the default."""
    arguments = [*command[1:], "serve", *(["--home", str(home)] if home else [])]
    kind = {"type": "stdio"} if client.typed else {}
    return {**kind, "command": command[0], "args": arguments}


def _app_data(platform: str, environment: Mapping[str, str], user: Path) -> Path:
    if platform == "darwin":
        return user / "Library" / "Application Support"
    if platform == "win32":
        return Path(environment.get("APPDATA") or user / "AppData" / "Roaming")
    configured = environment.get("XDG_CONFIG_HOME", "")
    return Path(configured) if configured.startswith("/") else user / ".config"
