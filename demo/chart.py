"""A run's timeline as bars."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of a run; `start` and `end` are parts of the whole, 0 to 1."""

    name: str
    start: float
    end: float
    cell: str
    style: str
    note: str
    cut: bool = False


STYLES = {"server": ("-", "blue"), "step": ("=", "green"), "wait": (".", "yellow")}
STARTS = {"step.started": "step", "wait.opened": "wait"}
ENDS = {"step.completed": "step", "step.failed": "step", "wait.decided": "wait"}


def draw(events: list[dict[str, Any]], killed_at: float) -> tuple[list[Bar], float]:
    """Return bars for the servers that worked on the run, its steps and its waits, and the seconds of the whole."""
    whole = _Whole(events[0]["at"], events[-1]["at"])
    bars: list[Bar] = []
    running: dict[tuple[str, str], float] = {}
    for event in events:
        name, kind, at = _name(event), event["type"], event["at"]
        if kind in STARTS:
            running[STARTS[kind], name] = at
        elif kind in ENDS and (ENDS[kind], name) in running:
            bars.append(whole.bar(ENDS[kind], name, running.pop((ENDS[kind], name)), at))
        elif kind == "lease.lost":
            bars += [whole.bar("step", step, began, killed_at, cut=True) for (_, step), began in running.items()]
            running.clear()
    resumed = next(event["at"] for event in events if event["type"] == "run.resumed")
    servers = [
        whole.bar("server", "server 1", whole.first, killed_at, cut=True),
        whole.bar("server", "server 2", resumed, whole.last),
    ]
    return servers + bars, whole.seconds


@dataclass(frozen=True, slots=True)
class _Whole:
    first: float
    last: float

    @property
    def seconds(self) -> float:
        return max(self.last - self.first, 0.001)

    def bar(self, kind: str, name: str, start: float, end: float, *, cut: bool = False) -> Bar:
        cell, style = STYLES[kind]
        note = "killed" if cut else f"{max(0.0, end - start) * 1000:.0f} ms"
        first, last = ((at - self.first) / self.seconds for at in (start, end))
        return Bar(name, first, last, cell, "red" if cut else style, note, cut)


def _name(event: dict[str, Any]) -> str:
    data = event["data"]
    return str(data.get("step") or data.get("key") or "")
