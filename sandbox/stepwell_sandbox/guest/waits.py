"""Waiting in the body of a workflow is durable, also where it is written with the standard library."""

import asyncio
import time
from typing import Any

from stepwell.sdk.handles import drive
from stepwell.sdk.runtime import Runtime
from stepwell.sdk.scope import current_scope


def install(runtime: Runtime) -> None:
    """Make `asyncio.sleep` and `time.sleep` in the body timers of the run; inside steps they stay real."""
    real_async, real_sync = asyncio.sleep, time.sleep

    async def sleep(delay: float, result: Any = None) -> Any:
        scope = current_scope()
        if scope is None or not scope.ordered or delay <= 0:
            return await real_async(delay, result)
        await runtime.call("timer", "sleep", [], {"seconds": float(delay)}, scope.key("sleep"))
        return result

    def sleep_sync(seconds: float) -> None:
        scope = current_scope()
        if scope is None or not scope.ordered or seconds <= 0 or not runtime.blocking():
            real_sync(seconds)
            return
        drive(runtime.call("timer", "sleep", [], {"seconds": float(seconds)}, scope.key("sleep")))

    asyncio.sleep = sleep
    time.sleep = sleep_sync
