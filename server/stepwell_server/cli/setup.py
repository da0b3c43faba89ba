"""`stepwell setup`: Stepwell in an MCP client's configuration."""

import os
import re
import sys
from pathlib import Path

import click

from stepwell.errors import ConfigError
from stepwell_server.cli.client_files import merge, read_text, snippet, write
from stepwell_server.cli.clients import CLIENTS, config_path, server_command, server_entry
from stepwell_server.cli.commands import Command
from stepwell_server.cli.report import Invocation
from stepwell_server.home import VARIABLE, find_home

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _check_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise click.BadParameter("use letters, digits, _ and -, at most 64", ctx, param)
    return value


@click.command(cls=Command)
@click.argument("client", type=click.Choice(list(CLIENTS)))
@click.option("--path", "path", type=click.Path(path_type=Path), help="The file, instead of the client's own.")
@click.option("--name", default="stepwell", show_default=True, callback=_check_name, help="The server's name there.")
@click.option("--print", "only_print", is_flag=True, help="Show what the file would hold and write nothing.")
@click.pass_obj
def setup(invocation: Invocation, client: str, path: Path | None, name: str, only_print: bool) -> None:
    """Add Stepwell to the configuration of an MCP CLIENT, with absolute paths.

    What is in the file stays, and a copy of it is kept beside it. A file that does not parse is left alone.
    """
    kind = CLIENTS[client]
    file = (path or _user_file(client)).absolute()
    entry = server_entry(kind, server_command(), _chosen_home(invocation))
    before = read_text(file)
    after = merge(kind, name, entry, before, file)
    result = {"client": client, "path": str(file), "name": name, "entry": entry}
    if only_print:
        invocation.put(
            result | {"content": after}, f"{file}:\n{after.rstrip()}" if path else snippet(kind, name, entry)
        )
    elif after == before:
        invocation.put(result | {"changed": False, "backup": None}, f"{file} has it already.")
    else:
        backup = write(file, after)
        kept = f"\nWhat it was is kept in {backup}." if backup else ""
        invocation.put(
            result | {"changed": True, "backup": str(backup) if backup else None},
            f"{kind.title} knows {name} now: {file}{kept}\n{kind.after}",
        )


def _user_file(client: str) -> Path:
    try:
        return config_path(client, sys.platform, os.environ, Path.home())
    except RuntimeError as error:
        raise ConfigError(f"the home directory cannot be found: {error}", hint="Use --path FILE.") from error


def _chosen_home(invocation: Invocation) -> Path | None:
    # Clients start servers without the shell's environment.
    return find_home(invocation.home) if invocation.home or os.environ.get(VARIABLE) else None
