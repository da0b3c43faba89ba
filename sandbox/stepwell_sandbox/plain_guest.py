"""The process of level `none`: limits where the system has them, and no isolation. Standard library only."""

import importlib
import json
import signal
import sys

from stepwell_sandbox.confine import limits
from stepwell_sandbox.confine.plan import ProcessLimits


def main(entry: str, fd: int, told: str, packages: str) -> None:
    """Set limits and run the guest's `module:function` on descriptor `fd`; it may import from the folder `packages`."""
    for which, value in limits.wanted(ProcessLimits(**json.loads(told))).items():
        try:
            limits.set_limit(which, value)
        except (OSError, ValueError):  # macOS refuses some of them
            continue
    if sys.platform == "linux":
        from stepwell_sandbox.confine import libc  # noqa: PLC0415 - exists on Linux alone

        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    module, _, function = entry.partition(":")
    given = {"packages": packages} if packages else {}
    getattr(importlib.import_module(module), function)(fd, **given)
