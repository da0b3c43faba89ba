"""`stepwell run`."""

import click

from stepwell.engine import StartOptions
from stepwell.errors import InvalidArguments
from stepwell.model import JsonObject, Run, Version
from stepwell_server.app import App
from stepwell_server.cli.arguments import read_object, split_pairs, type_pairs
from stepwell_server.cli.commands import Command
from stepwell_server.cli.executing import execute
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Exit, Invocation
from stepwell_server.cli.run_text import run_data


@click.command(cls=Command)
@click.argument("name", required=False)
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--json", "json_text", metavar="JSON", help="The arguments as a JSON object; @FILE or - reads it.")
@click.option("--run-id", help="An id of your own; the same id again is the same run.")
@click.option("--session-id", help="Runs of one session share `ctx.session.state`.")
@click.option("--user-id", help="Runs of one user share `ctx.user.state`.")
@click.option("--idempotency-key", help="The same key again returns the run that it has started.")
@click.option("--from", "from_run", metavar="RUN", help="Take the input of this run, which did not complete.")
@click.option("--from-step", metavar="STEP", help="With --from: reuse its results from before this step.")
@click.option("--turns-from", metavar="RUN", help="Answer agents from this run's model turns; no model is asked.")
@click.option("--budget-usd", type=float, help="What it may spend on models.")
@click.option("--detach", is_flag=True, help="Only store the run; a running server executes it.")
@click.pass_obj
def run(  # noqa: PLR0917  click passes them by name
    invocation: Invocation,
    name: str | None,
    pairs: tuple[str, ...],
    json_text: str | None,
    run_id: str | None,
    session_id: str | None,
    user_id: str | None,
    idempotency_key: str | None,
    from_run: str | None,
    from_step: str | None,
    turns_from: str | None,
    budget_usd: float | None,
    detach: bool,
) -> int:
    """Run the workflow NAME here and show how it goes; with --from, NAME may be left out.

    KEY=VALUE is read as the type that the workflow gives the parameter. The output goes to stdout, everything
    else to stderr. At a terminal questions are asked right there; elsewhere the command ends with exit code 3
    when a person is needed. Ctrl-C leaves the run as it is, to be resumed.
    """
    named = split_pairs(pairs)
    given = read_object(json_text, "--json") if json_text is not None else {}
    options = StartOptions(run_id, session_id, user_id, idempotency_key, budget_usd=budget_usd, turns_from=turns_from)

    _check_origin(name, from_run, from_step, with_arguments=bool(named or json_text))

    async def begin(app: App) -> Run:
        if from_run is not None:
            return await app.engine.start_again(from_run, options, workflow=name, from_step=from_step)
        assert name is not None
        workflow = await app.catalog.get(name)
        try:
            arguments: JsonObject = given | type_pairs(named, workflow.version.schema)
            return await app.engine.start(name, arguments, options)
        except InvalidArguments as error:
            raise _with_signature(error, workflow.version) from error

    if not detach:
        return execute(invocation, begin)
    stored = in_app(invocation, begin)
    invocation.put(
        run_data(stored),
        f"{stored.id}\nA running server takes it up (`stepwell serve`), or you do: stepwell resume {stored.id}",
    )
    return Exit.OK


def _check_origin(name: str | None, from_run: str | None, from_step: str | None, *, with_arguments: bool) -> None:
    if name is None and from_run is None:
        raise click.UsageError("Missing argument 'NAME'.")
    if from_step is not None and from_run is None:
        raise click.UsageError("--from-step goes with --from.")
    if from_run is not None and with_arguments:
        raise click.UsageError("With --from the input is that of the run; leave the arguments out.")


def _with_signature(error: InvalidArguments, version: Version) -> InvalidArguments:
    told = version.signature in error.hint
    return InvalidArguments(error.message, hint=error.hint if told else f"{error.hint}\n{version.signature}".strip())
