"""The standard library's clocks and randomness, replaced by those of the place that asks (`streams`)."""

import asyncio.base_events
import concurrent.futures._base
import logging
from typing import Any

from stepwell_sandbox.guest import chance, clock, dates, real

# Their time-outs and log lines are not the workflow's.
_KEEP_REAL: tuple[Any, ...] = (asyncio.base_events, concurrent.futures._base, logging)

_prepared = False


def prepare() -> None:
    """Replace them, once in a process: in the zygote, before it forks.

    Until a workflow runs, and in the guest's own code, they do what they always did.

    Raises:
        RuntimeError: this Python does not let the types of `datetime` be changed.
    """
    global _prepared  # noqa: PLW0603  one process has one standard library
    if _prepared:
        return
    _prepared = True
    clock.replace_time()
    dates.replace_datetime()
    chance.replace_random()
    chance.replace_uuid()
    chance.replace_threads()
    for module in _KEEP_REAL:
        module.time = real.module
