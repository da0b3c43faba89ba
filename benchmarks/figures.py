"""What was measured, and what it is compared with."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement."""

    topic: str
    name: str
    value: float
    unit: str
    """`ms`, `steps/s`, `MB`, `commits`, `times`."""
    goal: str = ""
    met: bool | None = None


@dataclass(slots=True)
class Figures:
    """All of a run of the benchmarks, in the order in which they were measured."""

    say: Callable[[str], None]
    rows: list[Figure] = field(default_factory=list[Figure])
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Why a peer was not measured, by its name."""

    def add(self, topic: str, name: str, value: float, unit: str, goal: str = "", met: bool | None = None) -> None:
        """Take a figure."""
        self.rows.append(Figure(topic, name, value, unit, goal, met))
        self.say(f"{topic}: {name}: {number(value)} {unit}")

    def at_most(self, topic: str, name: str, value: float, unit: str, most: float) -> None:
        """Take a figure that shall not be above a goal."""
        self.add(topic, name, value, unit, f"at most {number(most)} {unit}", value <= most)

    def at_least(self, topic: str, name: str, value: float, unit: str, least: float) -> None:
        """Take a figure that shall not be below a goal."""
        self.add(topic, name, value, unit, f"at least {number(least)} {unit}", value >= least)

    def find(self, name: str) -> float | None:
        """Return the value of that name, None if it was not measured."""
        return next((row.value for row in self.rows if row.name == name), None)


def number(value: float) -> str:
    """Return a number with as many digits as say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value else "0"


def median(values: list[float]) -> float:
    """Return the middle one."""
    return sorted(values)[len(values) // 2]
