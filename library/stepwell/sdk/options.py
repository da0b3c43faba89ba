"""How a step is tried."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from stepwell.sdk.exceptions import ApprovalDenied

MAX_SECONDS = 100 * 365 * 24 * 3600.0
MAX_FACTOR = 1000.0
MAX_GROWTH = 100  # times that a delay grows: its factor to that power is still a number
Backoff = Literal["constant", "linear", "exponential"]
NAMES = frozenset(
    {
        "key", "retries", "max_attempts", "retry_delay", "backoff", "max_delay",
        "timeout", "retry_on", "requires_approval", "undo",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StepOptions:
    """The options of `ctx.step`, checked."""

    key: str | None = None
    max_attempts: int = 1
    retry_delay: float = 1.0
    """Seconds before the second attempt."""
    backoff: Backoff | float = "constant"
    """How the delay grows; a number is the factor from one delay to the next."""
    max_delay: float = 3600.0
    timeout: float | None = None
    """Seconds of one attempt."""
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    requires_approval: bool = False
    undo: Callable[..., Any] | None = None
    """Takes the step's result and undoes what the step did, if the run does not complete."""

    def delay(self, failed: int) -> float:
        """Return the seconds to wait after `failed` attempts have failed."""
        grown = min(failed - 1, MAX_GROWTH)
        factors = {"constant": 1.0, "linear": float(failed), "exponential": 2.0**grown}
        factor = self.backoff**grown if isinstance(self.backoff, (int, float)) else factors[self.backoff]
        return min(self.retry_delay * factor, self.max_delay)

    def retries_on(self, error: BaseException) -> bool:
        """Whether another attempt may mend it."""
        blocked = isinstance(error, ApprovalDenied) or getattr(error, "code", "") == "in_doubt"
        return isinstance(error, self.retry_on) and not blocked


DEFAULT = StepOptions()


def given_options(given: Mapping[str, Any]) -> frozenset[str]:
    """Return which fields of `StepOptions` the author has given."""
    return frozenset("max_attempts" if name == "retries" else name for name in given)


def read_options(given: Mapping[str, Any]) -> StepOptions:
    """Check options as authors write them.

    Raises:
        TypeError: one is unknown or of the wrong type.
        ValueError: one is out of range.
    """
    if not given:
        return DEFAULT
    values = dict(given)
    if values.get("undo") is not None and not callable(values["undo"]):
        raise TypeError("undo is a function that takes the step's result")
    retries = values.pop("retries", None)
    if retries is not None:
        if "max_attempts" in values:
            raise TypeError("give retries= (extra attempts) or max_attempts= (in all), not both")
        values["max_attempts"] = _whole("retries", retries, 0) + 1
    if "max_attempts" in values:
        _whole("max_attempts", values["max_attempts"], 1)
    for name in ("retry_delay", "max_delay", "timeout"):
        _number(name, values.get(name), MAX_SECONDS)
    if values.get("backoff", "constant") not in ("constant", "linear", "exponential"):
        _number("backoff", values["backoff"], MAX_FACTOR)
    if "retry_on" in values:
        values["retry_on"] = _classes(values["retry_on"])
    unknown = values.keys() - {field.name for field in fields(StepOptions)}
    if unknown:
        raise TypeError(f"a step has no option {', '.join(sorted(unknown))}")
    return StepOptions(**values)


def _whole(name: str, value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is a whole number of at least {least}, not {value!r}")
    return value


def _number(name: str, value: Any, most: float) -> None:
    if value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= most:  # NaN is not
        raise ValueError(f"{name} is a number from 0 to {most:.0f}, not {value!r}")


def _classes(value: Any) -> tuple[type[BaseException], ...]:
    classes: tuple[Any, ...] = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not all(isinstance(cls, type) and issubclass(cls, Exception) for cls in classes):
        raise TypeError("retry_on is an exception class or a tuple of them")
    return classes
