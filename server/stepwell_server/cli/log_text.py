"""Lines of a run's output for a terminal, once or as they come."""

import time
from collections.abc import Callable

from stepwell.engine import LogLine
from stepwell.model import LIVE, Run
from stepwell_server.app import App
from stepwell_server.cli.text import block, one_line

PAGE = 200  # lines fetched at one time
SHOWN = 1000  # characters of a line among the progress of a run
LOOK_S = 0.5  # how often a followed run is looked at, besides its news


def log_text(line: LogLine) -> str:
    """Return a line of output with its time, where it comes from, and its text without what acts on a terminal."""
    at = time.strftime("%H:%M:%S", time.localtime(line.at)) + f".{int(line.at % 1 * 1000):03d}"
    step = f"[{one_line(line.step, 40)}] " if line.step else ""
    first, *rest = block(line.text).split("\n")
    return "\n".join([f"{at} {line.level:<8} {step}{first}", *(" " * 22 + more for more in rest)])


def output_text(line: LogLine) -> str:
    """Return a line of output as it stands among the progress of a run."""
    level = "" if line.level in ("stdout", "stderr") else f"{line.level}: "
    step = f"[{one_line(line.step, 40)}] " if line.step else ""
    text = line.text if len(line.text) <= SHOWN else f"{line.text[:SHOWN]} ... (stepwell show RUN --logs has all)"
    return block(f"{step}{level}{text}", "  | ")


async def follow_logs(app: App, run_id: str, show: Callable[[LogLine], None]) -> Run:
    """Show all lines of a run, those to come too; return the run when it has ended."""
    seen = 0
    while True:
        run = await app.engine.wait(run_id, LOOK_S)
        seen = await show_new(app, run_id, seen, show)
        if run.status not in LIVE:
            return run


async def show_new(app: App, run_id: str, seen: int, show: Callable[[LogLine], None]) -> int:
    """Show the lines after the one of that number; return the last one's number."""
    while True:
        lines = await app.engine.logs(run_id, after=seen, limit=PAGE)
        for line in lines:
            seen = line.n
            show(line)
        if len(lines) < PAGE:
            return seen
