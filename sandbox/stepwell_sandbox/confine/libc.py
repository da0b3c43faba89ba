"""System calls that Python has no function for. Every one raises `ConfineError` when the kernel says no."""

import ctypes
import errno
import os
import platform

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.unshare.argtypes = [ctypes.c_int]
_libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]

MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
"""The kernel's name of the processor, `x86_64` or `aarch64` where confinement is supported."""

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_SET_MDWE = 65


class ConfineError(RuntimeError):
    """A layer could not be put on; the process must end."""


def checked(result: int, what: str) -> int:
    """Return `result`.

    Raises:
        ConfineError: it is negative, with the errno of the last call.
    """
    if result < 0:
        code = ctypes.get_errno()
        raise ConfineError(f"{what}: {errno.errorcode.get(code, code)} ({os.strerror(code)})")
    return result


def syscall(number: int, *arguments: object, what: str) -> int:
    """Call the kernel; each argument is a ctypes value or None."""
    return checked(int(_libc.syscall(ctypes.c_long(number), *arguments)), what)


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    """Return the result of `prctl(2)`."""
    return checked(int(_libc.prctl(option, a, b, c, d)), f"prctl({option})")


def try_prctl(option: int, a: int = 0, b: int = 0) -> bool:
    """Say whether the kernel knows and allows this `prctl(2)`."""
    return int(_libc.prctl(option, a, b, 0, 0)) >= 0


def unshare(flags: int) -> None:
    """Leave the namespaces of `flags`."""
    checked(int(_libc.unshare(flags)), f"unshare({flags:#x})")


def setns(fd: int, flags: int) -> None:
    """Enter the namespaces of a process, given by its pidfd."""
    checked(int(_libc.setns(fd, flags)), f"setns({flags:#x})")


def mount(kind: str, target: str, flags: int, data: str) -> None:
    """Mount a file system without a device."""
    result = _libc.mount(kind.encode(), target.encode(), kind.encode(), flags, data.encode())
    checked(int(result), f"mount({kind} on {target})")


def capset(header: bytes, data: bytes) -> None:
    """Set the capabilities of this thread."""
    checked(int(_libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(data))), "capset")


def close_from(first: int) -> None:
    """Close every descriptor from `first` on."""
    if int(_libc.close_range(ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), 0)) != 0:
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))
