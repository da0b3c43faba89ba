"""Start a program under a filter like the one that Docker sets by default: [--no-landlock] PROGRAM ARGUMENTS.

It refuses what containers without rights are refused and Stepwell's levels depend on; see `mend.NEEDED_CALLS`.
"""

import os
import struct
import sys

from stepwell_sandbox.confine import libc, seccomp
from stepwell_sandbox.confine.bpf import ALLOW, AND, ERRNO, JUMP_EQUAL, LOAD, RETURN, Program
from stepwell_sandbox.confine.namespaces import CLONE_ANY_NAMESPACE
from stepwell_sandbox.confine.syscalls import NUMBERS
from stepwell_sandbox.mend import NEEDED_CALLS

EPERM, ENOSYS = 1, 38
OTHERS = {"sethostname": {"x86_64": 170, "aarch64": 161}}
GATED = ("bpf", "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd", "pidfd_getfd", "ptrace", "chroot")
LANDLOCK = 444


def numbers(names: tuple[str, ...]) -> list[int]:
    table = NUMBERS[libc.MACHINE]
    return [table[name] if name in table else OTHERS[name][libc.MACHINE] for name in names]


def filter_code(*, landlock: bool) -> bytes:
    refused = numbers(tuple(name for name in NEEDED_CALLS if name != "clone") + GATED)
    steps = [(LOAD, 0, 0, 0)]
    for number in [*refused, *([] if landlock else [LANDLOCK])]:
        steps += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | EPERM)]
    steps += [(JUMP_EQUAL, 0, 1, NUMBERS[libc.MACHINE]["clone3"]), (RETURN, 0, 0, ERRNO | ENOSYS)]
    steps += [
        (JUMP_EQUAL, 0, 4, NUMBERS[libc.MACHINE]["clone"]),
        (LOAD, 0, 0, 16),
        (AND, 0, 0, CLONE_ANY_NAMESPACE),
        (JUMP_EQUAL, 1, 0, 0),
        (RETURN, 0, 0, ERRNO | EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    without = arguments[0] == "--no-landlock"
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(Program(filter_code(landlock=not without), ()), os.getpid())
    command = arguments[1:] if without else arguments
    os.execvp(command[0], command)
