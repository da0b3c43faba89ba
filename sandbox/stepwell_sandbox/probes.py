"""What a confined child tries in order to prove its confinement. Trusted code, run where guests run.

It speaks the guest's protocol: `Ready`, then one `Start` whose inputs name what to attack, then `Done` with
the names of the attempts that succeeded. Standard library only.
"""

import ctypes
import json
import os
import resource
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from stepwell_sandbox.confine import libc
from stepwell_sandbox.confine.syscalls import NUMBERS
from stepwell_sandbox.wire import GUEST_FD, HEADER

FORBIDDEN_CALLS = ("unshare", "ptrace", "bpf", "keyctl", "io_uring_setup", "perf_event_open", "mount", "setns")
_REFUSED = (1, 38)  # EPERM, ENOSYS

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Run every probe and end the process. Never returns."""
    _send({"t": "ready", "protocol": 1})
    start = _receive()
    _send({"t": "done", "value": successes(**start["inputs"])})
    os._exit(0)


def successes(outside: list[str], beside: str, host_pid: int) -> list[str]:
    """Return the names of the forbidden things that worked.

    Args:
        outside: Files that must not be readable, some of them only because of Landlock.
        beside: A path of the host that does not exist.
        host_pid: A process of the host.
    """
    attempts: dict[str, Callable[[], object]] = {
        "create a file of the host": lambda: open(beside, "w"),  # noqa: SIM115 - must fail
        "write to the standard library": lambda: open(os.__file__ + ".probe", "w"),  # noqa: SIM115 - must fail
        "read another process's environment": lambda: open(f"/proc/{host_pid}/environ", "rb").read(),  # noqa: SIM115 - must fail
        "open a socket": socket.socket,
        "start a process": _fork,
        "execute a program": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),  # noqa: S606 - must fail
        "signal a process": lambda: os.kill(host_pid, 0),
        "signal the parent": lambda: os.kill(os.getppid(), 0),
    }
    attempts |= {f"read {path}": partial(_read_file, path) for path in outside}
    found = [name for name, attempt in attempts.items() if _worked(attempt)]
    found += [f"call {name}" for name in FORBIDDEN_CALLS if not _refused(NUMBERS[libc.MACHINE][name])]
    if _libc.prctl(libc.PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        found.append("be traced")
    if _libc.prctl(libc.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        found.append("gain privileges")
    if resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY:
        found.append("use memory without a limit")
    return found


def _worked(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _read_file(path: str) -> None:
    with open(path) as file:
        file.read()


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _refused(number: int) -> bool:
    zeros = [ctypes.c_long(0)] * 5
    return _libc.syscall(ctypes.c_long(number), *zeros) < 0 and ctypes.get_errno() in _REFUSED


def _send(message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    os.write(GUEST_FD, HEADER.pack(len(data)) + data)


def _receive() -> dict[str, Any]:
    (length,) = HEADER.unpack(_read(HEADER.size))
    return json.loads(_read(length))


def _read(length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = os.read(GUEST_FD, length - len(data))
        if not more:
            os._exit(0)
        data += more
    return data
