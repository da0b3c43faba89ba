"""Commands that look at runs or end them, and `emit`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import click

from stepwell.engine import Event, JournalEntry, LogLine, RunItem, RunPage, StepItem
from stepwell.model import JsonObject, Run, RunStatus
from stepwell.store.monitoring import MAX_COUNTED
from stepwell_server.app import App
from stepwell_server.cli.arguments import read_json
from stepwell_server.cli.commands import Command
from stepwell_server.cli.log_text import follow_logs, log_text
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.progress import event_line
from stepwell_server.cli.report import Invocation, note
from stepwell_server.cli.run_text import run_data, summary, table
from stepwell_server.cli.text import columns, duration, moment, one_line, short_value, shown_value, to_json
from stepwell_server.results import elapsed_seconds

T = TypeVar("T")

PAGE = 200  # events, entries or lines fetched at one time
MAX_SHOWN = 10_000  # of them printed


@click.command(cls=Command)
@click.option("--status", type=click.Choice([status.value for status in RunStatus]), help="Only those that stand so.")
@click.option("--workflow", help="Only those of this workflow.")
@click.option("--session-id", help="Only those of this session.")
@click.option("--parent", help="Only the children of this run.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@click.option("--cursor", help="Where the page before ended.")
@click.pass_obj
def runs(
    invocation: Invocation,
    status: str | None,
    workflow: str | None,
    session_id: str | None,
    parent: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List runs, newest first."""

    async def load(app: App) -> RunPage:
        return await app.engine.list(
            status=status, workflow=workflow, session_id=session_id, parent_id=parent, limit=limit, cursor=cursor
        )

    page = in_app(invocation, load)
    data = {"runs": [_row(item) for item in page.items], "next_cursor": page.next_cursor, "total": page.total}
    lines = table(page.items) or ["There are no such runs."]
    if page.next_cursor:
        total = f"{page.total:,} or more" if page.total >= MAX_COUNTED else str(page.total)
        lines.append(f"{total} in all; the next: stepwell runs --cursor {page.next_cursor}")
    invocation.put(data, "\n".join(lines))


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--timeline", "with_timeline", is_flag=True, help="What happened, and when.")
@click.option("--logs", "with_logs", is_flag=True, help="What the workflow printed and logged.")
@click.option("--follow", is_flag=True, help="With --logs: also what it prints from now on, until it ends.")
@click.option("--journal", "with_journal", is_flag=True, help="Its calls and their outcomes.")
@click.option("--steps", "with_steps", is_flag=True, help="Its steps, with attempts and times.")
@click.pass_obj
def show(
    invocation: Invocation,
    run_id: str,
    with_timeline: bool,
    with_logs: bool,
    follow: bool,
    with_journal: bool,
    with_steps: bool,
) -> None:
    """Show a run."""
    wanted = {"steps": with_steps, "timeline": with_timeline, "logs": with_logs, "journal": with_journal}
    parts = [name for name, given in wanted.items() if given]
    if follow and parts != ["logs"]:
        raise click.UsageError("--follow goes with --logs alone.")
    if follow:
        _follow(invocation, run_id)
        return

    async def load(app: App) -> tuple[Run, dict[str, list[Any]]]:
        return await app.engine.get(run_id), {name: await _READERS[name](app, run_id) for name in parts}

    run, found = in_app(invocation, load)
    data = run_data(run) | {name: [asdict(item) for item in items] for name, items in found.items()}
    sections = [_section(name, _part_lines(name, run, items)) for name, items in found.items()]
    invocation.put(data, "\n".join([_details(run), *sections]))


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--reason", default="", help="Kept with the run.")
@click.pass_obj
def cancel(invocation: Invocation, run_id: str, reason: str) -> None:
    """Cancel a run; what it has done stays done."""
    run = in_app(invocation, lambda app: app.engine.cancel(run_id, reason))
    invocation.put(run_data(run), summary(run))


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.pass_obj
def discard(invocation: Invocation, run_id: str) -> None:
    """Put a dead, failed or doubtful run away: it is kept, but nobody has to look at it any more."""
    run = in_app(invocation, lambda app: app.engine.resume(run_id, "discard", via="cli"))
    invocation.put(run_data(run), summary(run))


@click.command(cls=Command)
@click.argument("name")
@click.option("--json", "json_text", metavar="JSON", help="The event's value; @FILE or - reads it.")
@click.option("--event-id", help="The same id again is the same event.")
@click.option("--run", "run_id", metavar="RUN", help="Only this run gets it.")
@click.pass_obj
def emit(invocation: Invocation, name: str, json_text: str | None, event_id: str | None, run_id: str | None) -> None:
    """Send the event NAME to all runs, or to one: to those that wait for it, and to those that will."""
    payload = read_json(json_text, "--json") if json_text is not None else None
    sent = in_app(invocation, lambda app: app.engine.emit(name, payload, event_id, run_id=run_id))
    data = {
        "name": name,
        "event_id": sent.event_id,
        "delivered": list(sent.delivered),
        "count": sent.count,
        "duplicate": sent.duplicate,
    }
    if sent.duplicate:
        text = "This event was sent before; it was not sent again."
    else:
        text = "\n".join([f"{sent.count} runs waited for it and got it.", *sent.delivered])
    invocation.put(data, text)


def _follow(invocation: Invocation, run_id: str) -> None:
    """Print lines as they come, and at the end how the run stands: on stderr, so that stdout is its output alone."""

    def show_line(line: LogLine) -> None:
        click.echo(to_json(asdict(line)) if invocation.is_json else log_text(line))

    run = in_app(invocation, lambda app: follow_logs(app, run_id, show_line))
    if not invocation.is_json:
        note(summary(run, with_logs=False))


async def _events(app: App, run_id: str) -> list[Event]:
    return await _pages(lambda after: app.engine.timeline(run_id, after=after, limit=PAGE), lambda event: event.n)


async def _logs(app: App, run_id: str) -> list[LogLine]:
    return await _pages(lambda after: app.engine.logs(run_id, after=after, limit=PAGE), lambda line: line.n)


async def _entries(app: App, run_id: str) -> list[JournalEntry]:
    return await _pages(lambda after: app.engine.journal(run_id, after=after, limit=PAGE), lambda entry: entry.seq)


async def _steps(app: App, run_id: str) -> list[StepItem]:
    return await _pages(lambda after: app.engine.steps(run_id, after=after, limit=PAGE), lambda step: step.seq)


_READERS: dict[str, Callable[[App, str], Awaitable[list[Any]]]] = {
    "steps": _steps, "timeline": _events, "logs": _logs, "journal": _entries,
}  # fmt: skip


async def _pages(read: Callable[[int], Awaitable[Sequence[T]]], number: Callable[[T], int]) -> list[T]:
    """Return what `read(after)` gives page by page, up to what is shown at the most."""
    found: list[T] = []
    while len(found) < MAX_SHOWN:
        page = await read(number(found[-1]) if found else 0)
        found += page
        if len(page) < PAGE:
            break
    return found


def _row(run: RunItem) -> JsonObject:
    return {
        "run_id": run.id,
        "workflow": run.workflow,
        "version": run.version[:12],
        "status": run.status.value,
        "error": None if run.error is None else run.error.describe(),
        "session_id": run.session_id,
        "parent_id": run.parent_id,
        "waiting_for": [wait.describe() for wait in run.waiting_for],
        "steps_completed": run.steps_completed,
        "attempts": run.attempts,
        "failures": run.failures,
        "elapsed_seconds": elapsed_seconds(run),
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "finished_at": run.finished_at,
        "queued": run.queued,
    }


def _details(run: Run) -> str:
    facts = [
        ("version", run.version[:12]),
        ("created", moment(run.created_at)),
        ("input", short_value(run.input, 300)),
        ("session", run.session_id or ""),
        ("user", run.user_id or ""),
        ("parent", run.parent_id or ""),
        ("sandbox", run.sandbox_level or ""),
        ("steps", ", ".join(run.completed_steps)),
    ]
    lines = [summary(run), *(f"  {name + ':':<10}{one_line(value, 300)}" for name, value in facts if value)]
    if run.output is not None:
        lines += ["", shown_value(run.output)]
    return "\n".join(lines)


def _section(title: str, lines: list[str]) -> str:
    return "\n".join(["", f"{title}:", *([f"  {line}" for line in lines] or ["  (empty)"])])


def _part_lines(name: str, run: Run, items: list[Any]) -> list[str]:
    match name:
        case "steps":
            return _step_lines(items)
        case "timeline":
            return _timeline_lines(run, items)
        case "logs":
            return [text for item in items for text in log_text(item).split("\n")]
        case _:
            return _journal_lines(items)


def _timeline_lines(run: Run, events: list[Event]) -> list[str]:
    heads = columns((duration(event.at - run.created_at), event.type) for event in events)
    width = max(map(len, heads), default=0)
    # Not as a column: nodes inside of others are indented.
    return [
        f"{head.ljust(width)}  {event_line(event) or short_value(event.data)}".rstrip()
        for head, event in zip(heads, events, strict=True)
    ]


def _step_lines(steps: list[StepItem]) -> list[str]:
    return columns(
        (
            step.key,
            step.status,
            f"attempts {step.attempts}" if step.attempts > 1 else "",
            duration(step.seconds),
            short_value(f"{step.error['type']}: {step.error['message']}" if step.error else step.result),
        )
        for step in steps
    )


def _journal_lines(entries: list[JournalEntry]) -> list[str]:
    return columns(
        (
            str(entry.seq),
            entry.kind,
            entry.name,
            entry.status,
            f"attempt {entry.attempt}" if entry.attempt else "",
            short_value(entry.error if entry.error else entry.value),
        )
        for entry in entries
    )
