"""What a `@function` may know about the attempt of the step that runs it."""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from stepwell.sdk.options import StepOptions
from stepwell.sdk.runtime import runtime
from stepwell.sdk.state import Done, State

PLAIN = ("exc_info", "stack_info", "stacklevel", "extra")  # keyword arguments of a logging method, not fields


class FieldLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose methods take fields by keyword: `logger.info("paid", order=7)` logs `paid order=7`."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Write a line."""
        fields = "".join(f" {name}={kwargs.pop(name)}" for name in list(kwargs) if name not in PLAIN)
        super().log(level, f"{msg}{fields.replace('%', '%%') if args else fields}", *args, **kwargs)


@dataclass(frozen=True, slots=True)
class FunctionContext:
    """The first parameter of a function that asks for it."""

    run_id: str
    attempt: int
    """0 first."""
    idempotency_key: str
    """The same in every attempt of this step: hand it to services that accept one."""
    name: str = ""
    options: StepOptions = field(default=StepOptions(), repr=False)
    is_last: bool = field(default=True, repr=False)
    """Whether the step has no attempts left after this one."""

    @property
    def logger(self) -> FieldLogger:
        """A logger whose lines become logs of the run."""
        return FieldLogger(logging.getLogger(self.name or "step"))

    @property
    def state(self) -> State:
        """The run's state; each attempt writes for itself."""
        return State("run")

    def log(self, message: str, **fields: Any) -> None:
        """Write a line to the run's log."""
        self.logger.info(message, **fields)

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait inside the attempt, which is not durable: in `async def` code await it."""
        if runtime().blocking():
            time.sleep(seconds)
            return Done()
        return asyncio.sleep(seconds)

    def should_retry(self, error: Exception | None = None) -> bool:
        """Whether the step is tried again if this attempt fails (with that error)."""
        return not self.is_last and (error is None or self.options.retries_on(error))


def wants_context(fn: Callable[..., Any]) -> bool:
    """Whether the first parameter asks for a `FunctionContext`."""
    if isinstance(fn, FunctionType) and not fn.__dict__ and not fn.__annotations__:
        return False  # to ask `inspect` takes longer than the rest of a step
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return False
    if not parameters:
        return False
    annotation = parameters[0].annotation
    hinted = annotation is FunctionContext or (isinstance(annotation, str) and annotation.endswith("FunctionContext"))
    return hinted or (parameters[0].name == "ctx" and hasattr(fn, "__stepwell_options__"))


def takes_argument(fn: Callable[..., Any]) -> bool:
    """Whether it can be called with one positional argument."""
    try:
        inspect.signature(fn).bind(None)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True
