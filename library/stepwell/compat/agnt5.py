"""The names of AGNT5's page. `@function(retries=3)` means three attempts here, and a workflow takes its context."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stepwell.sdk import functions
from stepwell.sdk.batch import BatchResult
from stepwell.sdk.context import WorkflowContext
from stepwell.sdk.exceptions import BatchError
from stepwell.sdk.function_context import FunctionContext, wants_context
from stepwell.sdk.functions import cron, event, webhook
from stepwell.sdk.handles import WORKFLOW_FILE, caller_line
from stepwell.sdk.pipeline import is_context
from stepwell.sdk.runtime import runtime
from stepwell.sdk.step import Step, step_name

__all__ = [
    "BackoffPolicy",
    "BatchError",
    "BatchResult",
    "FunctionContext",
    "RetryPolicy",
    "WorkflowContext",
    "cron",
    "event",
    "function",
    "webhook",
    "workflow",
]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a function is tried."""

    max_attempts: int = 3
    initial_interval_ms: int = 1000
    max_interval_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """How the delay between attempts grows."""

    type: str = "exponential"
    multiplier: float = 2.0


def workflow(fn: Any = None, /, **declared: Any) -> Any:
    """Mark the function that is the workflow.

    Raises:
        TypeError: its first parameter is not the context.
    """
    if fn is None:
        return lambda target: workflow(target, **declared)
    parameters = list(inspect.signature(fn).parameters.values())
    if not parameters or not is_context(parameters[0]):
        raise TypeError(f"the first parameter of the workflow {fn.__name__!r} must be ctx: WorkflowContext")
    return functions.workflow(**declared)(fn)


def function(fn: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Mark a function that is used as a step; `retries` is the number of attempts, or a `RetryPolicy`.

    Called without a context, as in `ctx.gather(users=fetch_users())`, it is a step of its own.
    """
    if fn is None:
        return lambda target: function(target, name=name, **options)
    checked = functions.function(name=name, **_native(options))(fn)
    if not wants_context(fn):
        return checked

    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def call(*args: Any, **kwargs: Any) -> Any:
            if args and hasattr(args[0], "run_id"):
                return await fn(*args, **kwargs)
            return await _made(call, args, kwargs)

        return call

    @functools.wraps(fn)
    def call_now(*args: Any, **kwargs: Any) -> Any:
        if args and hasattr(args[0], "run_id"):
            return fn(*args, **kwargs)
        step = _made(call_now, args, kwargs)
        return step.finish() if runtime().blocking() else step

    return call_now


def _made(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Step:
    options = fn.__dict__["__stepwell_options__"]
    return Step(step_name(fn), fn, args, kwargs, options, caller_line(WORKFLOW_FILE))


def _native(options: dict[str, Any]) -> dict[str, Any]:
    native = dict(options)
    retries = native.pop("retries", None)
    if isinstance(retries, RetryPolicy):
        native["max_attempts"] = retries.max_attempts
        native["retry_delay"] = retries.initial_interval_ms / 1000
        native["max_delay"] = retries.max_interval_ms / 1000
    elif retries is not None:
        native["max_attempts"] = retries
    backoff = native.get("backoff")
    if isinstance(backoff, BackoffPolicy):
        native["backoff"] = backoff.multiplier if backoff.type == "exponential" else backoff.type
    if (timeout := native.pop("timeout_ms", None)) is not None:
        native["timeout"] = timeout / 1000
    return native
