"""`stepwell replay`: a recorded run as a test of a workflow's version."""

from pathlib import Path

import click

from stepwell.engine import Comparison
from stepwell_server.app import App
from stepwell_server.cli.commands import Command
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Exit, Invocation
from stepwell_server.cli.text import one_line

SHOWN_HASH = 12
MAX_SHOWN = 400  # characters of one side of a difference


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--version", help="The version, by the beginning of its hash [default: the workflow's current one].")
@click.option("--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A source instead.")
@click.pass_obj
def replay(invocation: Invocation, run_id: str, version: str | None, path: Path | None) -> int:
    """Replay RUN without effects and print where the version first leaves what was recorded.

    The code runs in the sandbox; every call is answered from the journal and none is made. Exit code 0 if they agree.
    """
    if version is not None and path is not None:
        raise click.UsageError("Give --version or --file, not both.")
    source = None if path is None else path.read_text(encoding="utf-8", errors="replace")

    async def compare(app: App) -> Comparison:
        return await app.engine.compare(run_id, version, source)

    found = in_app(invocation, compare)
    invocation.put(found.describe(), _text(found))
    return Exit.OK if found.difference is None else Exit.FAILED


def _text(found: Comparison) -> str:
    version = found.version[:SHOWN_HASH]
    if found.difference is None:
        return f"Run {found.run_id} and version {version} agree: {found.replayed} recorded outcomes replayed."
    difference = found.difference
    where = f"at {one_line(difference.key, 200)!r}" if difference.key else "at the end"
    line = f" (line {difference.line})" if difference.line else ""
    return "\n".join((
        f"Run {found.run_id} and version {version} part {where}, after {found.replayed} recorded outcomes.",
        f"  recorded: {one_line(difference.recorded, MAX_SHOWN)}",
        f"  found:    {one_line(difference.found, MAX_SHOWN)}{line}",
    ))  # fmt: skip
