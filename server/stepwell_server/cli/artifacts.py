"""`stepwell artifacts`: what runs have saved."""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from stepwell.engine import Artifact
from stepwell.errors import Conflict
from stepwell.model import JsonObject
from stepwell_server.app import App
from stepwell_server.cli.commands import Command, Entry, LazyGroup
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Invocation
from stepwell_server.cli.text import block, columns, moment, one_line

_MODULE = "stepwell_server.cli.artifacts"
_ENTRIES = {
    "list": Entry(_MODULE, "list_artifacts", "List what a run has saved."),
    "read": Entry(_MODULE, "read", "Print or save one artifact."),
    "delete": Entry(_MODULE, "delete", "Delete one artifact."),
}


class _ListByDefault(LazyGroup):
    """`artifacts RUN` is `artifacts list RUN`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a word that is none is a run."""
        return super().resolve_command(ctx, args if args[0] in _ENTRIES else ["list", *args])


@click.command(cls=_ListByDefault, entries=_ENTRIES, subcommand_metavar="RUN | read RUN NAME | delete RUN NAME")
def artifacts() -> None:
    """List what RUN has saved; read or delete one artifact of it."""


@click.command(cls=Command, name="list")
@click.argument("run_id", metavar="[RUN]", required=False)
@click.pass_obj
def list_artifacts(invocation: Invocation, run_id: str | None) -> None:
    """List what RUN has saved; without it, the newest artifact of every name."""

    async def load(app: App) -> Sequence[Artifact]:
        if run_id is not None:
            await app.engine.get(run_id)
        return await app.engine.artifacts(run_id)

    found = in_app(invocation, load)
    rows = [
        (item.name, f"{item.size:,} bytes", item.media_type, moment(item.created_at), item.description)
        for item in found
    ]
    invocation.put(
        {"run_id": run_id, "artifacts": [_describe(item) for item in found]},
        "\n".join(columns(rows) or ["Nothing is saved."]),
    )


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.argument("name")
@click.option("--to", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this new file.")
@click.pass_obj
def read(invocation: Invocation, run_id: str, name: str, target: Path | None) -> None:
    """Print the artifact NAME of RUN, or write it to a file."""
    found = in_app(invocation, lambda app: app.engine.artifact(run_id, name))
    if target is not None:
        _save(found, target)
        invocation.put(_describe(found) | {"path": str(target)}, f"{found.size:,} bytes are in {target}.")
    elif invocation.is_json:
        invocation.put(_describe(found) | _content(found), "")
    elif not sys.stdout.isatty():
        sys.stdout.buffer.write(found.data)
    elif found.media_type == "application/octet-stream":
        raise Conflict(f"{one_line(name)} is {found.size:,} bytes of {found.media_type}.", hint="Use --to FILE.")
    else:
        click.echo(block(found.data.decode("utf-8", "replace")))


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.argument("name")
@click.pass_obj
def delete(invocation: Invocation, run_id: str, name: str) -> None:
    """Delete what RUN has saved as NAME, all versions of it; `stepwell gc` then makes the file smaller."""
    in_app(invocation, lambda app: app.engine.delete_artifact(run_id, name))
    invocation.put({"run_id": run_id, "name": name, "deleted": True}, f"{one_line(name)} of {run_id} is deleted.")


def _describe(artifact: Artifact) -> JsonObject:
    return {
        "name": artifact.name,
        "media_type": artifact.media_type,
        "size": artifact.size,
        "description": artifact.description,
        "metadata": artifact.metadata,
        "run_id": artifact.run_id,
        "created_at": artifact.created_at,
    }


def _content(artifact: Artifact) -> JsonObject:
    try:
        return {"text": artifact.data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(artifact.data).decode("ascii")}


def _save(artifact: Artifact, target: Path) -> None:
    try:
        with target.open("xb") as file:
            file.write(artifact.data)
    except OSError as error:
        raise Conflict(f"{target} cannot be written: {error.strerror or error}", hint="Choose a new file.") from error
