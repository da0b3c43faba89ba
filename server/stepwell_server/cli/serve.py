"""`stepwell serve`."""

import sys

import click
import uvloop

from stepwell_server.app import open_app
from stepwell_server.cli.commands import Command
from stepwell_server.cli.report import Invocation, note
from stepwell_server.preparing import preparing
from stepwell_server.responsive import keep_responsive

_LOCAL = "127.0.0.1"


def _parse_address(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, int] | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{value[:60]!r} is no HOST:PORT, such as {_LOCAL}:8765", ctx, param)
    return host.removeprefix("[").removesuffix("]") or _LOCAL, int(port)


@click.command(cls=Command)
@click.option(
    "--http", "address", metavar="HOST:PORT", callback=_parse_address, help="Serve Streamable HTTP at /mcp there."
)
@click.pass_obj
def serve(invocation: Invocation, address: tuple[str, int] | None) -> None:
    """Serve MCP clients, over stdio unless --http is given, and execute runs."""
    if address is None and sys.stdin.isatty():
        note("This speaks MCP on stdin and stdout; a client starts it. `stepwell setup CLIENT` tells a client how.")
    uvloop.run(_serve(invocation, address))


async def _serve(invocation: Invocation, address: tuple[str, int] | None) -> None:
    async with open_app(invocation.home) as app, preparing(app):
        keep_responsive()
        if address is None:
            # Each transport is loaded only where it is used: uvicorn alone costs a fifth of a second.
            from stepwell_server.surface.stdio import serve_stdio  # noqa: PLC0415

            await serve_stdio(app)
        else:
            from stepwell_server.surface.http import serve_http  # noqa: PLC0415

            await serve_http(app, *address)
