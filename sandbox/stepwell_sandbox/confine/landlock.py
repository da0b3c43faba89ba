"""Landlock: a process may touch only the paths that it is given."""

import ctypes
import os
import stat
import struct

from stepwell_sandbox.confine import libc

_CREATE, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_NET_BIND_AND_CONNECT = 3
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 3

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_DIR, MAKE_REG, MAKE_SYM, REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in (7, 8, 12, 13, 14, 15))

READ = READ_FILE | READ_DIR
READ_WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | REFER | TRUNCATE
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NEWEST_RIGHTS = 16
"""How many file rights an ABI knows; later ones than ABI 5 add none that we use."""


def abi() -> int:
    """Return the kernel's Landlock version, 0 where there is none."""
    arguments = (None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION))
    try:
        return libc.syscall(_CREATE, *arguments, what="landlock version")
    except libc.ConfineError:
        return 0


class Ruleset:
    """What a process may do with files; everything not allowed is denied, TCP too where the kernel can."""

    def __init__(self, version: int) -> None:
        if version <= 0:
            raise libc.ConfineError("the kernel has no Landlock")
        self._handled = (1 << _RIGHTS.get(version, _NEWEST_RIGHTS)) - 1
        network = _NET_BIND_AND_CONNECT if version >= 4 else 0
        scope = _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0
        size = 24 if version >= 6 else 16 if version >= 4 else 8
        attributes = struct.pack("=QQQ", self._handled, network, scope)
        self._fd = libc.syscall(
            _CREATE,
            ctypes.c_char_p(attributes),
            ctypes.c_size_t(size),
            ctypes.c_uint32(0),
            what="landlock_create_ruleset",
        )

    def allow(self, path: str, rights: int) -> None:
        """Allow `rights` on `path` and all beneath it."""
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                rights &= _OF_FILES
            rule = struct.pack("=Qi", rights & self._handled, fd)
            libc.syscall(
                _ADD_RULE,
                ctypes.c_int(self._fd),
                ctypes.c_int(_RULE_PATH_BENEATH),
                ctypes.c_char_p(rule),
                ctypes.c_uint32(0),
                what=f"landlock_add_rule({path})",
            )
        finally:
            os.close(fd)

    def enforce(self) -> None:
        """Bind this thread and its children to the rules for ever."""
        libc.syscall(_RESTRICT_SELF, ctypes.c_int(self._fd), ctypes.c_uint32(0), what="landlock_restrict_self")
        os.close(self._fd)
