"""What asyncio and time offer to the body of a workflow, made durable and the same on every replay."""

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

from stepwell.sdk.context import ctx
from stepwell.sdk.runtime import Runtime
from stepwell.sdk.scope import current_scope
from stepwell.sdk.step import step_name

# Taken when this module is loaded: `install` may be called again.
real_async, real_sync, real_run = asyncio.sleep, time.sleep, asyncio.run
real_to_thread, real_as_completed = asyncio.to_thread, asyncio.as_completed


_runtime: Runtime | None = None
_run_body: Callable[[Any], Any] = real_run


def install(runtime: Runtime, run_body: Callable[[Any], Any]) -> None:
    """Replace what would differ on a replay; inside steps all stays as it is.

    Sleeps in the body become timers of the run, `asyncio.to_thread` a step, and `asyncio.as_completed` takes its
    awaitables in their order instead of that of a set. `asyncio.run` in a plain `def` runs on the workflow's loop.
    """
    global _runtime, _run_body
    _runtime, _run_body = runtime, run_body
    asyncio.run = run
    asyncio.sleep = sleep
    time.sleep = sleep_sync
    asyncio.to_thread = to_thread
    asyncio.as_completed = as_completed


async def sleep(delay: float, result: Any = None) -> Any:
    """Stand for `asyncio.sleep`."""
    scope = current_scope()
    if scope is None or not scope.ordered or delay <= 0:
        return await real_async(delay, result)
    await ctx.sleep(delay)
    return result


def sleep_sync(seconds: float) -> None:
    """Stand for `time.sleep`."""
    scope = current_scope()
    if scope is None or not scope.ordered or seconds <= 0 or not _blocking():
        real_sync(seconds)
        return
    ctx.sleep(seconds)


async def to_thread(fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Stand for `asyncio.to_thread`."""
    scope = current_scope()
    if scope is None or not scope.ordered:
        return await real_to_thread(fn, *args, **kwargs)
    return await ctx.step(step_name(fn), functools.partial(fn, *args, **kwargs))


def as_completed(fs: Any, **options: Any) -> Any:
    """Stand for `asyncio.as_completed`."""
    return real_as_completed([asyncio.ensure_future(item) for item in dict.fromkeys(fs)], **options)


def run(main: Any, **options: Any) -> Any:
    """Stand for `asyncio.run`."""
    if current_scope() is None or not _blocking():
        return real_run(main, **options)
    return _run_body(main)


def _blocking() -> bool:
    return _runtime is not None and _runtime.blocking()
