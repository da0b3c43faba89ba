"""seccomp: the last layer, a filter over every system call."""

import ctypes
import errno
import struct

from stepwell_sandbox.confine import libc
from stepwell_sandbox.confine.bpf import Program, compile_rules
from stepwell_sandbox.confine.policy import rules_for
from stepwell_sandbox.confine.syscalls import NUMBERS

_MODE_FILTER = 2
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def build(*, paths: bool, metadata: bool, landlock_abi: int, exec_files: bool) -> Program:
    """Return the filter for this processor; see `policy.rules_for`.

    Raises:
        ConfineError: the processor is not supported.
    """
    machine = libc.MACHINE
    if machine not in NUMBERS:
        raise libc.ConfineError(f"no system call table for the processor {machine}")
    rules = rules_for(machine, paths=paths, metadata=metadata, landlock_abi=landlock_abi, exec_files=exec_files)
    return compile_rules(rules, architecture=_ARCHITECTURES[machine], x32=machine == "x86_64", errno=errno.EPERM)


def install(program: Program, pid: int) -> None:
    """Bind this thread and its children to the filter for ever. `no_new_privs` must be set."""
    code = program.for_process(pid)
    held = ctypes.create_string_buffer(code, len(code))
    descriptor = struct.pack("=HxxxxxxQ", len(code) // 8, ctypes.addressof(held))
    pointer = ctypes.create_string_buffer(descriptor, len(descriptor))
    libc.prctl(libc.PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(pointer))
