"""The process of level `none`: limits, and no isolation. Standard library only."""

import importlib
import json

from stepwell_sandbox.confine.limits import ProcessLimits, apply_limits


def main(entry: str, fd: int, limits: str, other_tasks: int) -> None:
    """Set what limits the system knows and run the guest's `module:function` on descriptor `fd`."""
    apply_limits(ProcessLimits(**json.loads(limits)), other_tasks)
    module, _, function = entry.partition(":")
    getattr(importlib.import_module(module), function)(fd)
