"""How to have this in a client of one's own."""

import json
import shlex
import sys
from pathlib import Path

from agent import SERVER
from claims import check
from stage import Stage
from stepwell_server.cli.clients import config_path

COMMAND, *ARGUMENTS = SERVER


def play(stage: Stage) -> None:
    """Print the three snippets."""
    show = stage.transcript
    show.phase(5, "To have this server in your client, paste one of these")
    check("the interpreter is there", Path(COMMAND).is_file(), True)
    for client, where, text in snippets():
        show.paste(client, where, text)
    setup = [COMMAND, *ARGUMENTS[:-1], "setup"]
    show.paste("Or let it write the file", "also: cursor, codex, gemini", shlex.join([*setup, "claude-desktop"]))


def snippets() -> list[tuple[str, str, str]]:
    """Return client, place and text."""
    server = {"command": COMMAND, "args": ARGUMENTS}
    desktop = config_path("claude-desktop", sys.platform, {}, Path("~"))
    return [
        ("Claude Desktop", str(desktop), json.dumps({"mcpServers": {"stepwell": server}})),
        ("Claude Code", "in a shell", shlex.join(["claude", "mcp", "add", "-s", "user", "stepwell", "--", *SERVER])),
        ("VS Code", "in a shell", shlex.join(["code", "--add-mcp", json.dumps({"name": "stepwell", **server})])),
    ]
