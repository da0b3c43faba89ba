"""seccomp: the last layer, a filter over every system call."""

import ctypes
import errno
import struct

from stepwell_sandbox.confine import libc, policy
from stepwell_sandbox.confine.bpf import Program, compile_rules
from stepwell_sandbox.confine.syscalls import NUMBERS

_MODE_FILTER = 2
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def build(*, paths: bool, metadata: bool, landlock_abi: int, exec_files: bool, sealed_later: bool = False) -> Program:
    """Return the filter for this processor; see `policy.rules_for`.

    Raises:
        ConfineError: the processor is not supported.
    """
    machine = libc.MACHINE
    if machine not in NUMBERS:
        raise libc.ConfineError(f"no system call table for the processor {machine}")
    rules = policy.rules_for(
        machine,
        paths=paths,
        metadata=metadata,
        landlock_abi=landlock_abi,
        exec_files=exec_files,
        sealed_later=sealed_later,
    )
    return compile_rules(rules, architecture=_ARCHITECTURES[machine], x32=machine == "x86_64", errno=errno.EPERM)


def install(program: Program, pid: int) -> None:
    """Bind this thread and its children to the filter for ever. `no_new_privs` must be set."""
    pointer, _held = _pointer(program, pid)
    libc.prctl(libc.PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(pointer))


def install_everywhere(program: Program, pid: int) -> None:
    """Bind all threads of this process to one more filter; the one that they have must allow it (`sealed_later`)."""
    pointer, _held = _pointer(program, pid)
    number = NUMBERS[libc.MACHINE]["seccomp"]
    operation = ctypes.c_uint(policy.SET_MODE_FILTER)
    where = ctypes.c_void_p(ctypes.addressof(pointer))
    if libc.syscall(number, operation, ctypes.c_uint(policy.ALL_THREADS), where, what="seccomp") != 0:
        raise libc.ConfineError("seccomp: a thread could not be bound")


def _pointer(program: Program, pid: int) -> tuple[ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]]:
    """Return what the kernel is given, and what that points to."""
    code = program.for_process(pid)
    held = ctypes.create_string_buffer(code, len(code))
    descriptor = struct.pack("=HxxxxxxQ", len(code) // 8, ctypes.addressof(held))
    return ctypes.create_string_buffer(descriptor, len(descriptor)), held
