"""The `stepwell` command: which commands there are, and what every one of them does with errors."""

import sys
from collections.abc import Sequence

import click

from stepwell.errors import StepwellError
from stepwell_server.cli.commands import Entry, LazyGroup
from stepwell_server.cli.report import (
    Exit,
    Invocation,
    drop_stdout,
    note,
    report_crash,
    report_error,
    report_usage,
)

_PACKAGE = "stepwell_server.cli"


def _entry(module: str, attribute: str, summary: str) -> Entry:
    return Entry(f"{_PACKAGE}.{module}", attribute, summary)


_ENTRIES = {
    "serve": _entry("serve", "serve", "Serve MCP clients over stdio or HTTP."),
    "run": _entry("run", "run", "Run a workflow and show how it goes."),
    "create": _entry("workflows", "create", "Store a workflow from a file."),
    "list": _entry("workflows", "list_workflows", "List the stored workflows."),
    "get": _entry("workflows", "get", "Show a workflow."),
    "graph": _entry("graph", "graph", "Draw a workflow."),
    "search": _entry("workflows", "search", "Find workflows by what they are for."),
    "delete": _entry("workflows", "delete", "Delete a workflow; its runs are kept."),
    "export": _entry("transfer", "export_workflows", "Write workflows as files, or one as an Agent Skill."),
    "import": _entry("transfer", "import_workflows", "Store the workflows of a folder of files."),
    "pin": _entry("workflows", "pin", "Offer a workflow to MCP clients as a tool of its own."),
    "unpin": _entry("workflows", "unpin", "Take that back."),
    "runs": _entry("runs", "runs", "List runs."),
    "show": _entry("runs", "show", "Show a run."),
    "approve": _entry("people", "approve", "Approve what a run waits for."),
    "reject": _entry("people", "reject", "Reject what a run waits for."),
    "answer": _entry("people", "answer", "Answer a run's question."),
    "grants": _entry("grants", "grants", "List or revoke what is approved for more than one call."),
    "resume": _entry("people", "resume", "Go on with a failed, interrupted or doubtful run."),
    "replay": _entry("replay", "replay", "Test a version of a workflow against a recorded run."),
    "cancel": _entry("runs", "cancel", "Cancel a run."),
    "workers": _entry("worker_list", "workers", "List the processes that execute runs, and how runs stand."),
    "models": _entry("models", "models", "List models, agents and prices; fetch a model for search."),
    "gc": _entry("gc", "gc", "Delete runs that ended long ago."),
    "discard": _entry("runs", "discard", "Put a dead or failed run away."),
    "emit": _entry("runs", "emit", "Send an event to all runs, or to one."),
    "artifacts": _entry("artifacts", "artifacts", "List or read what a run has saved."),
    "doctor": _entry("doctor", "doctor", "Say what works on this machine and what does not."),
    "setup": _entry("setup", "setup", "Add Stepwell to an MCP client's configuration."),
    "import-config": _entry("import_config", "import_config", "Add the MCP servers of a client to stepwell.toml."),
    "config": _entry("config", "config", "Check the configuration."),
    "version": _entry("version", "version", "Print the version."),
}


@click.command(
    cls=LazyGroup,
    entries=_ENTRIES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong request, 3 waiting, 4 in doubt, 130 interrupted.",
)
@click.version_option(package_name="stepwell", message="stepwell %(version)s", help="Print the version and exit.")
def root() -> None:
    """Stored, sandboxed, durable Python workflows."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `argv` is without the program's name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character must not end the command.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
        return Exit.FAILED
    return code


def _run(arguments: list[str]) -> int:
    invocation = _guess_invocation(arguments)
    try:
        code = root.main(args=arguments, prog_name="stepwell", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        note(error.format_message())
        return Exit.USAGE
    except click.ClickException as error:
        return report_usage(invocation, error)
    except StepwellError as error:
        return report_error(invocation, error)
    except (KeyboardInterrupt, click.Abort):
        note("Interrupted.")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last handler: a person gets a message, the log the traceback
        if isinstance(error, ExceptionGroup) and (known := _only_known(error)):
            return report_error(invocation, known)
        return report_crash(invocation, error)
    return code if isinstance(code, int) else Exit.OK


def _only_known(group: ExceptionGroup) -> StepwellError | None:
    # Task groups wrap the one error that ended them.
    inner = group.exceptions
    while len(inner) == 1:
        if isinstance(inner[0], StepwellError):
            return inner[0]
        if not isinstance(inner[0], ExceptionGroup):
            return None
        inner = inner[0].exceptions
    return None


def _guess_invocation(arguments: list[str]) -> Invocation:
    # Errors are printed in the form that was asked for, also those that were found before click had parsed it.
    values: dict[str, str] = {}
    for index, argument in enumerate(arguments):
        if argument == "--":
            break
        name, equals, value = argument.partition("=")
        if name in ("--output", "--home"):
            following = arguments[index + 1] if index + 1 < len(arguments) else ""
            values[name] = value if equals else following
    return Invocation(home=values.get("--home"), output="json" if values.get("--output") == "json" else "text")
