"""Resource limits of one guest process."""

import resource

from stepwell_sandbox.confine.plan import ProcessLimits

PENDING_SIGNALS = 64


def apply_limits(limits: ProcessLimits, other_tasks: int) -> None:
    """Set every limit, soft and hard alike: the first process of a PID namespace ignores SIGXCPU.

    `other_tasks` are those of the same user that the kernel counts with this process's threads: none in a user
    namespace of its own.
    """
    for which, value in wanted(limits).items():
        set_limit(which, value)
    set_limit(resource.RLIMIT_NPROC, other_tasks + limits.threads)


def wanted(limits: ProcessLimits) -> dict[int, int]:
    """Return the value of each limit by the system's number of it, except the one on threads."""
    values = {
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    for name, value in (("RLIMIT_MSGQUEUE", 0), ("RLIMIT_SIGPENDING", PENDING_SIGNALS)):
        if (number := getattr(resource, name, None)) is not None:
            values[number] = value
    return values


def set_limit(which: int, value: int) -> None:
    """Set one limit, or leave it where it is lower already."""
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
