"""`stepwell gc`."""

import time
from dataclasses import asdict

import click

from stepwell.engine.retention import Collected
from stepwell_server.app import App
from stepwell_server.cli.commands import Command
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Invocation
from stepwell_server.durations import read_duration
from stepwell_server.environments import Deleted, delete_unused

DEFAULT = "30d"


def _parse(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else read_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command(cls=Command)
@click.option(
    "--older-than",
    "older_than",
    metavar="DURATION",
    callback=_parse,
    help=f"Runs that ended longer ago [default: [retention] ended_after, else {DEFAULT}].",
)
@click.option("--artifacts", is_flag=True, help="Delete what they have saved, too.")
@click.option("--dry-run", is_flag=True, help="Only count the runs.")
@click.pass_obj
def gc(invocation: Invocation, older_than: float | None, artifacts: bool, dry_run: bool) -> None:
    """Delete runs that ended long ago, and what nothing refers to any more; make the file smaller.

    Installed packages that no stored version of a workflow uses are deleted too.

    Runs that go on, their parents and children, and dead runs are never deleted.
    """

    async def work(app: App) -> tuple[Collected, Deleted]:
        seconds = older_than if older_than is not None else app.settings.retention.ended_after
        before = time.time() - (read_duration(DEFAULT) if seconds is None else seconds)
        collected = await app.engine.collect(before, artifacts=artifacts, dry_run=dry_run, rewrite=True)
        return collected, await delete_unused(app.home, app.database, dry_run=dry_run)

    done, gone = in_app(invocation, work)
    if dry_run:
        text = f"{done.runs} runs would be deleted."
    else:
        text = (
            f"Deleted {done.runs} runs, {done.events} events, {done.versions} versions of workflows, {done.blobs} "
            f"large values. The file is {done.bytes / 2**20:.1f} MiB smaller."
        )
    if gone.environments:
        what = "would be deleted" if dry_run else "were deleted"
        text += f"\n{gone.environments} environments of packages ({gone.environment_bytes / 2**20:.1f} MiB) {what}."
    invocation.put(asdict(done) | asdict(gone) | {"dry_run": dry_run}, text)
