"""What a run's timeline says about its steps, for a display."""

import re
from dataclasses import dataclass, field

from stepwell.engine import Event
from stepwell_server.cli.text import duration, moment, one_line

_ENDS = ("completed", "failed", "terminated", "rejected", "cancelled", "dead")
MAX_ERROR = 200  # characters shown of a failed attempt


@dataclass(slots=True)
class StepProgress:
    """All executions of the steps of one name."""

    name: str
    running: int = 0
    completed: int = 0
    failed: int = 0
    attempt: int = 1
    """Of the newest execution."""
    since: float = 0.0
    """Unix seconds at which the newest one was started."""
    seconds: float = 0.0
    """How long the last finished one took."""
    error: str = ""
    """Of the last attempt, if it failed."""
    retrying: bool = False


@dataclass(slots=True)
class Progress:
    """The state of a run as its events tell it."""

    status: str = "pending"
    steps: dict[str, StepProgress] = field(default_factory=dict[str, StepProgress])
    calls: dict[str, str] = field(default_factory=dict[str, str])
    """Names of the calls under way, by key."""
    waits: dict[str, Event] = field(default_factory=dict[str, Event])
    """How what is waited for was opened, by key; a timer that fires tells nothing."""
    message: str = ""
    """The workflow's own last word about its progress."""

    def add(self, event: Event) -> None:
        """Take in the next event."""
        kind, _, what = event.type.partition(".")
        data = event.data
        match kind:
            case "run":
                self.status = what
                if what in ("started", "resumed"):
                    self._restart()
                elif what in _ENDS:
                    self.waits.clear()
                    self.calls.clear()
            case "step":
                self._add_step(what, event)
            case "call" if what == "started":
                self.calls[str(data.get("key"))] = str(data.get("call", ""))
            case "call":
                self.calls.pop(str(data.get("key")), None)
            case "wait" if what == "opened":
                self.waits[str(data.get("key"))] = event
            case "wait":
                self.waits.pop(str(data.get("key")), None)
            case "progress":
                self.message = progress_text(event)
            case _:
                pass

    def open_waits(self, now: float) -> list[str]:
        """Return what is waited for at that time, in unix seconds."""
        opened = [(event, event.data.get("until")) for event in list(self.waits.values())]
        return [wait_text(event) for event, until in opened if not isinstance(until, int | float) or until > now]

    def _restart(self) -> None:
        # What was under way in an earlier process is told anew by this one.
        self.status = "running"
        self.calls.clear()
        for step in self.steps.values():
            step.running = 0

    def _add_step(self, what: str, event: Event) -> None:
        name = str(event.data.get("step", ""))
        step = self.steps.setdefault(name, StepProgress(name))
        attempt = event.data.get("attempt")
        step.attempt = attempt if isinstance(attempt, int) else step.attempt
        if what == "started":
            step.running += 1
            step.since = event.at
            step.retrying = False
            return
        step.running = max(0, step.running - 1)
        step.seconds = _seconds(event)
        if what == "completed":
            step.completed += 1
            step.error, step.retrying = "", False
            return
        step.error = one_line(str(event.data.get("error", "")), MAX_ERROR)
        step.retrying = event.data.get("final") is False
        step.failed += 0 if step.retrying else 1


_PLAIN = {
    "run.started": "started",
    "run.resumed": "goes on",
    "run.retrying": "failed, attempt {failed} of {attempts}: {error}; tries again",
    "run.reopened": "taken up again",
    "run.dead": "set aside as dead: {error}",
    "run.waiting": "waits",
    "run.completed": "completed",
    "run.failed": "failed: {error}",
    "run.terminated": "ended early",
    "run.rejected": "rejected",
    "run.cancelled": "cancelled",
    "run.in_doubt": "is in doubt about {call}",
    "step.started": "step {step} started",
    "node.started": "{kind} {node} started",
    "node.completed": "{kind} {node} completed",
    "node.failed": "{kind} {node} failed",
    "node.skipped": "{kind} {node} skipped",
    "node.iteration": "{kind} {node}, pass {iteration}",
    "call.started": "{call} called",
    "call.completed": "{call} answered",
    "call.failed": "{call} failed: {error}",
    "model.answered": "agent {agent}: {tokens} tokens of {model}",
    "model.failed": "agent {agent}: {error}",
    "wait.decided": "decided: {decision}",
    "child.started": "workflow {workflow} started as {run_id}",
    "child.finished": "workflow {workflow} finished: {status}",
}

_PLACE = re.compile(r"\{(\w+)\}")


def event_line(event: Event) -> str:
    """Return an event as one line, indented by the nodes that it is inside of; empty where there is nothing to tell."""
    line, depth = _event_line(event), event.data.get("depth")
    return "  " * min(depth, 20) + line if line and isinstance(depth, int) else line


def _event_line(event: Event) -> str:
    data = event.data
    match event.type:
        case "step.completed":
            return one_line(f"step {data.get('step')} completed in {duration(_seconds(event))}{_attempt(event)}", 300)
        case "step.failed":
            then = "; tries again" if data.get("final") is False else ""
            error = str(data.get("error", ""))[:MAX_ERROR]
            return one_line(f"step {data.get('step')} failed{_attempt(event)}: {error}{then}", 400)
        case "wait.opened":
            return one_line(f"waits: {wait_text(event)}", 300)
        case "progress":
            return progress_text(event)
        case _:
            # In one pass: what is filled in is not read as a place to fill in.
            line = _PLACE.sub(lambda place: str(data.get(place[1]) or "")[:MAX_ERROR], _PLAIN.get(event.type, ""))
            return one_line(line.strip(": "), 300)


def wait_text(event: Event) -> str:
    """Return what a `wait.opened` event waits for."""
    data = event.data
    until = data.get("until")
    if data.get("kind") == "timer" and isinstance(until, int | float):
        return f"sleeps until {moment(until)}"
    return one_line(str(data.get("prompt") or data.get("name") or data.get("kind")), 200)


def progress_text(event: Event) -> str:
    """Return what `ctx.progress` said."""
    done, total, message = (event.data.get(name) for name in ("done", "total", "message"))
    counted = f"{done:g}" if isinstance(done, int | float) else ""
    if counted and isinstance(total, int | float):
        counted += f" of {total:g}"
    return one_line(": ".join(part for part in (counted, str(message or "")) if part), 200)


def _seconds(event: Event) -> float:
    seconds = event.data.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def _attempt(event: Event) -> str:
    attempt = event.data.get("attempt")
    return f" (attempt {attempt})" if isinstance(attempt, int) and attempt > 1 else ""
