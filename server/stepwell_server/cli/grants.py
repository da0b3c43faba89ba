"""`stepwell grants`: what people have allowed for more than one call."""

from collections.abc import Sequence

import click

from stepwell.engine import Grant
from stepwell.engine.granted import list_grants, revoke_grant
from stepwell.model import JsonObject
from stepwell_server.app import App
from stepwell_server.cli.commands import Command
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Invocation
from stepwell_server.cli.text import columns, moment, one_line, to_json

MAX_ARGUMENTS = 60  # characters shown


@click.command(cls=Command)
@click.option("--revoke", type=int, metavar="ID", help="Let this one cover nothing more.")
@click.pass_obj
def grants(invocation: Invocation, revoke: int | None) -> None:
    """List what was approved for more than one call, or revoke it."""
    if revoke is not None:
        in_app(invocation, lambda app: revoke_grant(app.database, revoke))
        invocation.put({"revoked": revoke}, f"Grant {revoke} covers nothing more.")
        return

    async def load(app: App) -> Sequence[Grant]:
        return await list_grants(app.database)

    found = in_app(invocation, load)
    text = "\n".join(columns([_row(grant) for grant in found]) or ["Nothing is approved for more than one call."])
    invocation.put({"grants": [_describe(grant) for grant in found]}, text)


def _row(grant: Grant) -> tuple[str, ...]:
    where = {"run": f"run {grant.run_id}", "workflow": f"{grant.workflow}@{grant.version[:12]}", "always": "always"}
    given = "" if grant.kind == "host" else to_json(grant.arguments)[:MAX_ARGUMENTS]
    who = f"{grant.reviewer or '?'}, {grant.via}"
    return (str(grant.id), grant.kind, grant.name, where[grant.scope], one_line(given), who, moment(grant.given_at))


def _describe(grant: Grant) -> JsonObject:
    return {
        "id": grant.id,
        "kind": grant.kind,
        "name": grant.name,
        "arguments": grant.arguments if grant.kind == "tool" else None,
        "scope": grant.scope,
        "run_id": grant.run_id,
        "workflow": grant.workflow,
        "version": grant.version[:12],
        "reviewer": grant.reviewer,
        "via": grant.via,
        "given_at": grant.given_at,
    }
