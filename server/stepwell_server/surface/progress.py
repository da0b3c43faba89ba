"""Events of a run's timeline as lines of progress."""

from stepwell.engine import Event
from stepwell_server.surface.replies import shorten

_LINES = {
    "run.started": "run started",
    "run.resumed": "run resumed",
    "run.retrying": "run failed and is tried again",
    "run.dead": "run is dead",
    "run.waiting": "run is waiting",
    "run.completed": "run completed",
    "run.failed": "run failed",
    "run.terminated": "run ended early",
    "run.rejected": "run rejected",
    "run.cancelled": "run cancelled",
    "run.in_doubt": "run is in doubt",
    "node.skipped": "{name} skipped",
    "node.iteration": "{name}: pass {iteration}",
    "step.started": "step {name} started",
    "step.completed": "step {name} completed",
    "step.failed": "step {name} failed",
    "call.started": "{name} called",
    "call.completed": "{name} answered",
    "call.failed": "{name} failed",
    "model.answered": "agent {name} has an answer of its model",
    "model.failed": "agent {name} has no answer of its model, and waits",
    "wait.opened": "waiting: {name}",
    "wait.decided": "decided: {name}",
    "child.started": "workflow {name} started",
    "child.finished": "workflow {name} finished",
}
MAX_LINE = 300  # characters


def progress_message(event: Event) -> str:
    """Return what a client shows of an event; empty where there is nothing to show."""
    data = event.data
    if event.type == "progress":
        total = f" of {data['total']:g}" if isinstance(data.get("total"), (int, float)) else ""
        done = f"{data['done']:g}{total}" if isinstance(data.get("done"), (int, float)) else ""
        return shorten(": ".join(part for part in (done, str(data.get("message") or "")) if part), MAX_LINE)
    line = _LINES.get(event.type, "")
    name = str(next((data[key] for key in ("name", "step", "node", "call", "workflow", "agent") if data.get(key)), ""))
    line = line.replace("{iteration}", str(data.get("iteration", "")))
    return shorten(line.replace("{name}", name), MAX_LINE).strip(": ")
