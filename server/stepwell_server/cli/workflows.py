"""Commands on stored workflows."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from stepwell.catalog.catalog import Created
from stepwell.catalog.drawing import draw
from stepwell.catalog.search import SearchResult
from stepwell.catalog.source import MAX_SOURCE_BYTES
from stepwell.catalog.transfer import read_file
from stepwell.errors import InvalidArguments, NotFound
from stepwell.model import JsonObject, Warn, Workflow
from stepwell.model.usage import Usage
from stepwell.ports.limits import declared_limits, show_limit
from stepwell.store.workflows import Only
from stepwell_server.app import App
from stepwell_server.cli.commands import Command
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Invocation, note
from stepwell_server.cli.text import block, columns, moment, one_line
from stepwell_server.results import workflow_result, workflow_summary

HASH_DIGITS = 12
TELL_S = 2.0
PREPARE_S = 5.0
"""For a model that is on this machine and what it has not seen yet."""


@click.command(cls=Command)
@click.argument("file")
@click.option("--name", help="The workflow's name [default: the file's].")
@click.option("--description", help="What it is for [default: its docstring].")
@click.option("--tag", "tags", multiple=True, help="May be given more than once.")
@click.option("--intent", "intents", multiple=True, help="A request that it serves; may be given more than once.")
@click.option("--entry", help="The function to run, where the source has more than one candidate.")
@click.option("--replace", is_flag=True, help="Make a new version of a workflow that exists.")
@click.option("--dry-run", is_flag=True, help="Check the source and store nothing.")
@click.pass_obj
def create(
    invocation: Invocation,
    file: str,
    name: str | None,
    description: str | None,
    tags: tuple[str, ...],
    intents: tuple[str, ...],
    entry: str | None,
    replace: bool,
    dry_run: bool,
) -> None:
    """Store the workflow in FILE, or with `-` the one on stdin."""
    wanted = _name_of(file) if name is None else name
    said = read_file(_read_source(file))

    async def store(app: App) -> Created:
        return await app.catalog.create(
            wanted,
            said.source,
            description=description or said.description,
            tags=tags or said.tags,
            intents=intents or said.intents,
            replace=replace,
            entry=entry or said.entry,
            dry_run=dry_run,
            origin="cli",
            tell=tell_progress(),
        )

    created = in_app(invocation, store)
    data = workflow_result(created.workflow, source=False) | {
        "created": created.created,
        "dry_run": dry_run,
        "replaced": created.replaced,
        "warnings": [_warning(item) for item in created.warnings],
        "similar": list(created.similar),
    }
    invocation.put(data, _created_text(created, dry_run=dry_run))


@click.command(cls=Command, name="list")
@click.option("--tag", help="Only those with this tag.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--cursor", help="Where the page before ended.")
@click.option(
    "--only", type=click.Choice(["pinned", "used", "unused", "failing"]), help="failing: the newest run failed."
)
@click.pass_obj
def list_workflows(invocation: Invocation, tag: str | None, limit: int, cursor: str | None, only: Only | None) -> None:
    """List the stored workflows by name."""
    page = in_app(invocation, lambda app: app.catalog.list(limit, cursor, tag, only))
    data = {
        "workflows": [workflow_summary(item) for item in page.items],
        "next_cursor": page.next_cursor,
        "total": page.total,
    }
    lines = _table(page.items) or ["There are no workflows. `stepwell create FILE` stores one."]
    if page.next_cursor:
        lines.append(f"{page.total} in all; the next: stepwell list --cursor {page.next_cursor}")
    invocation.put(data, "\n".join(lines))


@click.command(cls=Command)
@click.argument("name")
@click.option("--version", help="A version's hash, or its first digits.")
@click.option("--source", "with_source", is_flag=True, help="Print the source and nothing else.")
@click.pass_obj
def get(invocation: Invocation, name: str, version: str | None, with_source: bool) -> None:
    """Show a workflow."""
    workflow = in_app(invocation, lambda app: app.catalog.get(name, version))
    if with_source and not invocation.is_json:
        # A file or a pipe gets the source byte for byte, a terminal a harmless form of it.
        source = workflow.version.source
        click.echo(block(source) if sys.stdout.isatty() else source, nl=False)
        return
    drawing = draw(workflow)
    data = workflow_result(workflow, source=True) | {"graph": drawing.text, "mermaid": drawing.mermaid}
    invocation.put(data, _workflow_text(workflow))


@click.command(cls=Command)
@click.argument("query", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 50), default=5, show_default=True)
@click.pass_obj
def search(invocation: Invocation, query: tuple[str, ...], limit: int) -> None:
    """Find workflows by what they are for."""

    async def find(app: App) -> SearchResult:
        await app.indexing.prepare(PREPARE_S)
        return await app.catalog.search(" ".join(query), limit)

    found = in_app(invocation, find)
    hits = [workflow_summary(hit.workflow) | {"score": hit.score, "why": hit.why} for hit in found.items]
    data = {
        "workflows": hits,
        "mode": found.mode,
        "model": found.model,
        "pending": found.pending,
        "low_confidence": found.low_confidence,
    }
    rows = [(f"{hit.score:.2f}", hit.workflow.version.signature, hit.workflow.description) for hit in found.items]
    lines = columns(rows) or ["Nothing was found."]
    if hits and found.low_confidence:
        lines.append("None of these fits well.")
    invocation.put(data, "\n".join(lines))


@click.command(cls=Command)
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(invocation: Invocation, name: str, yes: bool) -> None:
    """Delete a workflow; its versions stay for the runs that need them."""

    async def remove(app: App) -> None:
        workflow = await app.catalog.get(name)
        if workflow.origin.startswith("file:"):
            raise InvalidArguments(
                f"`{name}` comes from the home's file {workflow.origin.removeprefix('file:')} and would come back.",
                hint="Delete that file instead.",
            )
        if not await app.catalog.delete(name):
            raise NotFound(f"There is no workflow {name[:60]!a}.")

    if not yes and not invocation.is_json and sys.stdin.isatty():
        click.confirm(f"Delete the workflow {one_line(name)}?", abort=True, err=True)
    in_app(invocation, remove)
    invocation.put({"deleted": name}, f"{name} is deleted.")


@click.command(cls=Command)
@click.argument("name")
@click.pass_obj
def pin(invocation: Invocation, name: str) -> None:
    """Offer a workflow to MCP clients as a tool of its own, `wf_NAME`."""
    in_app(invocation, lambda app: app.catalog.pin(name, True))
    invocation.put({"name": name, "pinned": True}, f"{name} is pinned: clients see it as wf_{name}.")


@click.command(cls=Command)
@click.argument("name")
@click.pass_obj
def unpin(invocation: Invocation, name: str) -> None:
    """Take a pin back."""
    in_app(invocation, lambda app: app.catalog.pin(name, False))
    invocation.put({"name": name, "pinned": False}, f"{name} is not pinned any more.")


def tell_progress() -> Callable[[str], None]:
    """Return what tells a person of packages that are being installed, at most every few seconds."""
    told = 0.0

    def tell(text: str) -> None:
        nonlocal told
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            note(f"Packages: {one_line(text, 200)}")

    return tell


def _name_of(file: str) -> str:
    if file == "-":
        raise click.UsageError("The source on stdin needs a name: --name NAME.")
    return Path(file).stem


def _read_source(file: str) -> str:
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_SOURCE_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(MAX_SOURCE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{one_line(file)} cannot be read: {one_line(str(error))}") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(data) > MAX_SOURCE_BYTES:
            return data.decode("utf-8", "replace")  # refused for its size
        raise click.UsageError(f"{one_line(file)} is no UTF-8 text (byte {error.start}).") from error


def _created_text(created: Created, *, dry_run: bool) -> str:
    workflow = created.workflow
    digits = workflow.version.hash[:HASH_DIGITS]
    if dry_run:
        first = f"{workflow.name} can be stored (version {digits}); nothing was."
    elif not created.created:
        first = f"{workflow.name} is stored already, as it is (version {digits})."
    elif created.replaced:
        first = f"{workflow.name} has a new version, {digits}, in place of {created.replaced[:HASH_DIGITS]}."
    else:
        first = f"{workflow.name} is stored (version {digits})."
    lines = [first, f"  {one_line(workflow.version.signature, 300)}"]
    lines += [f"  {_where(item)}{one_line(item.message, 300)}" for item in created.warnings]
    if created.similar:
        lines.append(f"  Similar to: {', '.join(created.similar)}")
    return "\n".join(lines)


def _workflow_text(workflow: Workflow) -> str:
    version = workflow.version
    lines = [one_line(version.signature, 300)]
    if workflow.description:
        lines.append(block(workflow.description, "  "))
    facts = [
        ("version", f"{version.hash[:HASH_DIGITS]} of {len(workflow.versions)}, {moment(workflow.created_at)}"),
        ("origin", workflow.origin),
        ("tags", ", ".join(workflow.tags)),
        ("intents", "; ".join(workflow.intents)),
        ("pinned", "yes" if workflow.pinned else ""),
        ("used", _used(workflow.usage)),
        ("last error", one_line(workflow.usage.last_error or "", 200)),
        ("learned", "; ".join(workflow.usage.learned)),
        ("packages", ", ".join(f"{file.name} {file.version}" for file in version.lock.files) if version.lock else ""),
        (
            "limits",
            ", ".join(f"{name} = {show_limit(name, n)}" for name, n in declared_limits(version.options).items()),
        ),
    ]
    lines += columns((f"{name}:", value) for name, value in facts if value)
    lines += [f"warning: {_where(item)}{one_line(item.message, 300)}" for item in version.warnings]
    return "\n".join([*lines, "", block(version.source.rstrip("\n"), "    ")])


def _used(usage: Usage) -> str:
    if usage.last_run_at is None:
        return ""
    times = f"{usage.completed} completed, {usage.failed} failed"
    median = f", median {usage.median_seconds:g} s" if usage.median_seconds is not None else ""
    return f"{times}, success {usage.success_rate or 0:.0%} of late{median}, last {moment(usage.last_run_at)}"


def _table(workflows: tuple[Workflow, ...]) -> list[str]:
    rows = [
        ("*" if item.pinned else " ", item.name, item.version.hash[:HASH_DIGITS], item.description)
        for item in workflows
    ]
    return columns(rows)


def _warning(item: Warn) -> JsonObject:
    return {"code": item.code, "message": item.message, "line": item.line}


def _where(item: Warn) -> str:
    return f"line {item.line}: " if item.line else ""
