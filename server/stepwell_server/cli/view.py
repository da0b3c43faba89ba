"""The progress of a run on stderr: a live picture on a terminal, lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from stepwell.engine import Event, LogLine
from stepwell.model import Run
from stepwell_server.cli.log_text import output_text
from stepwell_server.cli.progress import Progress, StepProgress, event_line
from stepwell_server.cli.report import note
from stepwell_server.cli.text import duration, one_line

MAX_ROWS = 14  # steps shown while a run is under way; the newest win
_REFRESHES = 8  # per second


class View(Protocol):
    """Shows a run to a person while it goes on."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, run: Run) -> None:
        """Show that the run exists."""
        ...

    def show(self, event: Event) -> None:
        """Show the next event."""
        ...

    def log(self, line: LogLine) -> None:
        """Show a line of the workflow's output."""
        ...

    def pause(self) -> None:
        """Leave the terminal to a question; the next event goes on."""
        ...


def open_view() -> View:
    """Return the view that fits stderr."""
    return LiveView() if sys.stderr.isatty() else LineView()


class LineView:
    """One line per event."""

    def __init__(self) -> None:
        self._created = time.time()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def begin(self, run: Run) -> None:
        """Name the run."""
        self._created = run.created_at
        note(f"run {one_line(run.id)} of {one_line(run.workflow)}")

    def show(self, event: Event) -> None:
        """Print the event's line."""
        if line := event_line(event):
            note(f"[{max(event.at - self._created, 0):6.1f} s] {line}")

    def log(self, line: LogLine) -> None:
        """Print the line."""
        note(output_text(line))

    def pause(self) -> None:
        """Do nothing: lines are in nobody's way."""


class LiveView:
    """A picture of the steps that is drawn anew as the run goes on."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._progress = Progress()
        self._title = Text("")
        self._spinner = Spinner("dots")
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(transient=False)

    def begin(self, run: Run) -> None:
        """Start drawing."""
        self._stop(transient=False)
        self._progress = Progress()
        self._title = Text.assemble((one_line(run.workflow), "bold"), ("  " + one_line(run.id), "dim"))
        self._console.print(self._title)
        self._resume()

    def show(self, event: Event) -> None:
        """Take the event into the picture."""
        self._progress.add(event)
        self._resume()

    def log(self, line: LogLine) -> None:
        """Print the line above the picture."""
        self._console.print(Text(output_text(line), style="dim"))

    def pause(self) -> None:
        """Take the picture away; it is drawn anew below the question."""
        self._stop(transient=True)

    def _stop(self, *, transient: bool) -> None:
        if self._live is not None:
            self._live.transient = transient
            self._live.stop()
            self._live = None

    def _resume(self) -> None:
        if self._live is None:
            self._live = Live(
                get_renderable=self._draw,
                console=self._console,
                refresh_per_second=_REFRESHES,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def _draw(self) -> RenderableType:
        # In the refreshing thread: what the loop's thread changes is copied before it is gone through.
        rows = Table.grid(padding=(0, 1))
        steps = list(self._progress.steps.values())
        if len(steps) > MAX_ROWS:
            rows.add_row("", Text(f"… {len(steps) - MAX_ROWS} more", style="dim"), "", "")
        for step in steps[-MAX_ROWS:]:
            rows.add_row(*self._row(step))
        parts: list[RenderableType] = [rows] if steps else []
        parts += [
            Text(f"  ⏸ {one_line(prompt, 120)}", style="yellow") for prompt in self._progress.open_waits(time.time())
        ]
        parts += [Text(f"  → {one_line(name, 60)}", style="cyan") for name in list(self._progress.calls.values())[-3:]]
        if self._progress.message:
            parts.append(Text(f"  {self._progress.message}", style="dim"))
        if not parts:
            parts.append(Text(f"  {self._progress.status}", style="dim"))
        return Group(*parts)

    def _row(self, step: StepProgress) -> tuple[RenderableType, Text, Text, Text]:
        note_text = Text("")
        if step.running:
            icon: RenderableType = self._spinner
            took = Text(duration(time.time() - step.since), style="dim")
        elif step.error:
            icon = Text("↻", style="yellow") if step.retrying else Text("✗", style="red")
            took = Text(duration(step.seconds), style="dim")
        else:
            icon = Text("✓", style="green")
            took = Text(duration(step.seconds), style="dim")
        if step.error:
            note_text = Text(one_line(step.error, 80), style="red")
        label = one_line(step.name, 48) + (f" x{step.completed}" if step.completed > 1 else "")
        if step.attempt > 1:
            label += f" (attempt {step.attempt})"
        return icon, Text(label), took, note_text
