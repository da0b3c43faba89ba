"""Namespaces of one run, inside those that bubblewrap made for all of them."""

import os

from stepwell_sandbox.confine import libc

CLONE_VM = 0x100
CLONE_FS = 0x200
CLONE_FILES = 0x400
CLONE_SIGHAND = 0x800
CLONE_THREAD = 0x10000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_ANY_NAMESPACE = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
)

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
OWN_THREADS = "/proc/self/task"
MAX_FILES = 4096
"""Inodes of one scratch directory; our choice."""


class OwnPidNamespace:
    """Makes the next fork's child the first process of a new PID namespace.

    A second `unshare` in the same process is refused, so the zygote goes back to its own after each fork.
    """

    def __init__(self) -> None:
        self._self = os.pidfd_open(os.getpid())

    def __enter__(self) -> None:
        libc.unshare(CLONE_NEWPID)

    def __exit__(self, *exc: object) -> None:
        libc.setns(self._self, CLONE_NEWPID)


def make_private_scratch(path: str, size: int) -> None:
    """Give this process mounts of its own and an empty memory file system of `size` bytes at `path`."""
    libc.unshare(CLONE_NEWNS | CLONE_NEWIPC)
    options = f"size={size},nr_inodes={MAX_FILES},mode=0700"
    libc.mount("tmpfs", path, MS_NOSUID | MS_NODEV | MS_NOEXEC, options)


def count_threads_alone() -> None:
    """Give this process a user namespace of its own, in which the kernel counts its threads and no other run's.

    No user id is mapped into it: files keep their owner, and the process is nobody to itself.
    """
    libc.unshare(CLONE_NEWUSER)


def assert_single_thread() -> None:
    """Check that this process has one thread, as a fork copies only the calling one.

    Raises:
        ConfineError: there are more.
    """
    try:
        count = len(os.listdir(OWN_THREADS))
    except OSError:
        libc.unshare(CLONE_THREAD)  # changes nothing in a process of one thread, is refused in others
        return
    if count != 1:
        raise libc.ConfineError(f"the zygote has {count} threads; a preloaded module started one")
