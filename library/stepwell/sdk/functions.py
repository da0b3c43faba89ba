"""`@workflow`, `@function`, triggers: what a module declares about itself."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from stepwell.sdk.options import read_options

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Trigger:
    """What starts a workflow besides being invoked."""

    kind: str
    name: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])


def event(name: str) -> Trigger:
    """Start when an event of that name is emitted."""
    if not name:
        raise ValueError("an event trigger has a name")
    return Trigger("event", name)


def webhook(source: str, *, event: str = "") -> Trigger:
    """Start when `source` posts that event."""
    return Trigger("webhook", source.lower(), {"event": event})


def cron(expression: str) -> Trigger:
    """Start on a schedule, in UTC."""
    return Trigger("cron", expression)


@overload
def workflow(fn: F, /) -> F: ...
@overload
def workflow(
    *, name: str | None = None, triggers: list[Trigger] | None = None, **extra: Any
) -> Callable[[Any], Any]: ...
def workflow(fn: Any = None, /, **declared: Any) -> Any:
    """Mark the function that is the workflow's entry. A name given here is a title only."""

    def mark(target: Any) -> Any:
        target.__dict__["__stepwell_workflow__"] = declared
        return target

    return mark if fn is None else mark(fn)


@overload
def function(fn: F, /) -> F: ...
@overload
def function(*, name: str | None = None, **options: Any) -> Callable[[Any], Any]: ...
def function(fn: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Give a function its step options. `retries` means extra attempts."""
    checked = read_options(options)

    def mark(target: Any) -> Any:
        target.__dict__["__stepwell_options__"] = checked
        target.__dict__["__stepwell_name__"] = name
        return target

    return mark if fn is None else mark(fn)
