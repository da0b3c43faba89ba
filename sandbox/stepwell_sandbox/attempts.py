"""What every self-test tries, on any system. Trusted code, run where guests run; standard library only."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial

Attempts = dict[str, Callable[[], object]]
"""What must fail, by what one could then do."""


def common(outside: list[str], beside: str, host_pid: int) -> Attempts:
    """Return what must fail everywhere.

    Args:
        outside: Files that must not be readable.
        beside: A path of the host that does not exist.
        host_pid: A process of the host.
    """
    attempts: Attempts = {
        "create a file of the host": lambda: open(beside, "w"),  # noqa: SIM115 - must fail
        "write to the standard library": lambda: open(os.__file__ + ".probe", "w"),  # noqa: SIM115 - must fail
        "start a process": _fork,
        "signal a process": lambda: os.kill(host_pid, 0),
    }
    return attempts | {f"read {path}": partial(_read, path) for path in outside}


def worked(attempts: Attempts) -> list[str]:
    """Return the names of those that worked."""
    found: list[str] = []
    for name, attempt in attempts.items():
        with suppress(OSError):
            attempt()
            found.append(name)
    return found


def _read(path: str) -> None:
    with open(path) as file:
        file.read()


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
