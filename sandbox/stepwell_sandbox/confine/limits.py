"""Resource limits of one guest process."""

import resource
from dataclasses import dataclass

PENDING_SIGNALS = 64


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """The part of a run's limits that the kernel keeps, in the units of `stepwell.ports.sandbox.Limits`."""

    memory_bytes: int
    cpu_s: int
    threads: int
    open_files: int
    file_bytes: int
    scratch_bytes: int


def apply_limits(limits: ProcessLimits, other_tasks: int) -> None:
    """Set every limit, soft and hard alike: the first process of a PID namespace ignores SIGXCPU.

    `other_tasks` are those of the same user, which the kernel counts with this process's threads.
    """
    for which, value in (
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_NPROC, other_tasks + limits.threads),
    ):
        _set(which, value)
    for name, value in (("RLIMIT_MSGQUEUE", 0), ("RLIMIT_SIGPENDING", PENDING_SIGNALS)):
        if (number := getattr(resource, name, None)) is not None:
            _set(number, value)


def _set(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
