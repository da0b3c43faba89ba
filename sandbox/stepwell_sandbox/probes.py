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
from typing import Any

from stepwell_sandbox.attempts import common, worked
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
    """Return the names of the forbidden things that worked; some of `outside` only Landlock closes."""
    attempts = common(outside, beside, host_pid) | {
        "read another process's environment": lambda: open(f"/proc/{host_pid}/environ", "rb").read(),  # noqa: SIM115 - must fail
        "open a socket": socket.socket,
        "execute a program": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),  # noqa: S606 - must fail
        "signal the parent": lambda: os.kill(os.getppid(), 0),
    }
    found = worked(attempts)
    found += [f"call {name}" for name in FORBIDDEN_CALLS if not _refused(NUMBERS[libc.MACHINE][name])]
    if _libc.prctl(libc.PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        found.append("be traced")
    if _libc.prctl(libc.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        found.append("gain privileges")
    if resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY:
        found.append("use memory without a limit")
    return found


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
