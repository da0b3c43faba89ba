"""`stepwell import-config`: MCP servers of a client as servers of this home."""

import json
import tomllib
from pathlib import Path
from typing import Any

import click

from stepwell.errors import ConfigError, Conflict
from stepwell.model import JsonObject
from stepwell.tools.sources import make_identifier
from stepwell_server.cli.client_files import read_text, write
from stepwell_server.cli.commands import Command
from stepwell_server.cli.report import Invocation
from stepwell_server.client_servers import Found, read_client_servers
from stepwell_server.home import find_home, open_home
from stepwell_server.settings import parse_settings


@click.command("import-config", cls=Command)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--print", "only_print", is_flag=True, help="Show what would be added and write nothing.")
@click.pass_obj
def import_config(invocation: Invocation, file: Path, only_print: bool) -> None:
    """Add the MCP servers of a client's FILE to stepwell.toml.

    FILE is the configuration of Claude Desktop, Claude Code, Cursor or VS Code. What stepwell.toml holds stays as it
    is; a server whose name is there already is left out. A copy of the file before is kept beside it.
    """
    found = read_client_servers(read_text(file), file)
    target = open_home(find_home(invocation.home)).config
    before = read_text(target)
    _leave_out_known(found, before, target)
    added = "\n".join(_table(name, entry) for name, entry in found.servers.items())
    after = f"{before.rstrip()}\n\n{added}" if before.strip() else added
    result: JsonObject = {
        "path": str(target), "added": list(found.servers), "skipped": found.skipped, "notes": found.notes,
    }  # fmt: skip
    backup: Path | None = None
    if found.servers:
        parse_settings(after, str(target))  # a file that was wrong before is not made worse
        if not only_print:
            backup = write(target, after)
    shown = [added.rstrip()] if only_print and added else []
    if not only_print:
        shown += [f"added {name}: tools.{make_identifier(name)}.<tool>(...)" for name in found.servers]
    shown += [f"left out {name}: {reason}" for name, reason in found.skipped.items()] + found.notes
    if backup:
        shown.append(f"What {target.name} was is kept in {backup}.")
    invocation.put(
        result | {"backup": str(backup) if backup else None}, "\n".join(shown or ["There is nothing to add."])
    )


def _leave_out_known(found: Found, text: str, path: Path) -> None:
    try:
        known: Any = tomllib.loads(text).get("mcp_servers", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no valid TOML, so nothing was added: {error}") from error
    if not isinstance(known, dict):
        raise Conflict(f"mcp_servers in {path} is no table, so nothing was added.")
    for name in [name for name in found.servers if name in known]:
        del found.servers[name]
        found.skipped[name] = f"{path.name} has a server of that name"


def _table(name: str, entry: JsonObject) -> str:
    header = name if name.replace("-", "_").isidentifier() and name.isascii() else _text(name)
    lines = [f"{key} = {_inline(value)}" for key, value in entry.items()]
    return "\n".join([f"[mcp_servers.{header}]", *lines]) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(str(key))} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return _text(value)


def _text(value: Any) -> str:
    # JSON's strings, numbers and booleans are TOML too; DEL is the one character that is not.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
