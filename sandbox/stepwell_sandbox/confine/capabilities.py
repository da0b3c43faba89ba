"""Linux capabilities: all are dropped before guest code."""

import struct

from stepwell_sandbox.confine import libc

_VERSION_3 = 0x20080522
_CLEAR_ALL = 4


def last_capability() -> int:
    """Return the highest capability number this kernel has."""
    number = 0
    while number < 64 and libc.try_prctl(libc.PR_CAPBSET_READ, number):
        number += 1
    return number - 1


def drop_all(last: int) -> None:
    """Empty every capability set of this thread.

    The bounding set cannot be changed without CAP_SETPCAP, which is harmless after `no_new_privs`.
    """
    libc.try_prctl(libc.PR_CAP_AMBIENT, _CLEAR_ALL)
    for number in range(last + 1):
        libc.try_prctl(libc.PR_CAPBSET_DROP, number)
    libc.capset(struct.pack("=Ii", _VERSION_3, 0), bytes(24))
