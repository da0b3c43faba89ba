"""Which system calls a guest may make, and with which arguments."""

import errno

from stepwell_sandbox.confine import namespaces
from stepwell_sandbox.confine.bpf import FULL, OWN_PID, Rule, Test
from stepwell_sandbox.confine.syscalls import NUMBERS

PLAIN = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close dup dup2 dup3
flock fstat fstatfs umask ftruncate fallocate fsync fdatasync fadvise64 sendfile copy_file_range munmap mremap
madvise brk msync membarrier
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause
restart_syscall alarm setitimer getitimer exit exit_group wait4 waitid set_tid_address set_robust_list rseq
sched_yield sched_get_priority_max sched_get_priority_min getcpu nanosleep clock_nanosleep
clock_gettime clock_getres gettimeofday time times getrusage sysinfo uname getrandom getpid gettid getppid
getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp
poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime pipe pipe2
getsockname getpeername shutdown getrlimit
"""
"""Allowed with any arguments."""

PATHS = """
stat lstat newfstatat statx access faccessat faccessat2 getdents getdents64 readlink readlinkat getcwd
chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
"""
"""Allowed where something else decides which paths can be reached."""

METADATA = "chmod fchmod fchmodat fchmodat2 utime utimes utimensat futimesat statfs"
"""Landlock does not control these, so they are allowed only where namespaces hide other files."""

NOT_SUPPORTED = """
setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr
lremovexattr fremovexattr
"""
"""`shutil` forgives only ENOTSUP."""

NOT_KNOWN = """
clone3 openat2 io_uring_setup io_uring_enter io_uring_register futex_waitv memfd_secret
"""
"""glibc falls back from ENOSYS, and does not from EPERM."""

PROT_WRITE, PROT_EXEC = 2, 4
MAP_SHARED, MAP_ANONYMOUS, MAP_HUGETLB = 1, 0x20, 0x40000
O_TRUNC = 0o1000
AT_EMPTY_PATH = 0x1000
AF_UNIX, SOCK_STREAM, SOCK_TYPE_MASK = 1, 1, 0xF
SOL_SOCKET = 1
HARMLESS_SOCKET_OPTIONS = (3, 4, 7, 8, 30, 38, 39)
"""TYPE, ERROR, SNDBUF, RCVBUF, ACCEPTCONN, PROTOCOL, DOMAIN. PEERCRED names the host, PEERPIDFD is a handle of it."""
HARMLESS_IOCTLS = (0x5421, 0x5450, 0x5451, 0x541B, 0x5401, 0x5413)
"""FIONBIO, FIONCLEX, FIOCLEX, FIONREAD, TCGETS, TIOCGWINSZ."""
HARMLESS_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)
"""Without SETOWN and SETSIG, which signal other processes, and without leases, notifications and seals."""
HARMLESS_PRCTLS = (15, 16, 3, 39, 0x53564D41)
"""SET_NAME, GET_NAME, GET_DUMPABLE, GET_NO_NEW_PRIVS, SET_VMA."""
SET_MODE_FILTER, ALL_THREADS = 1, 1
"""Of `seccomp(2)`; other flags give a descriptor that supervises other threads."""
SEND_AND_RECEIVE_FLAGS = 0x2 | 0x40 | 0x100 | 0x4000
"""PEEK, DONTWAIT, WAITALL, NOSIGNAL. OOB was a way into the kernel (CVE-2025-38236)."""
FUTEX_FLAGS = 0x80 | 0x100
"""PRIVATE, CLOCK_REALTIME."""
FUTEX_OPERATIONS = (0, 1, 3, 4, 5, 9, 10)
"""WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, and the first two with a set of bits. Those that inherit priorities were
ways into the kernel (CVE-2014-3153, CVE-2021-3347) and serve no Python program."""
TRUNCATE_ABI = 3
"""Landlock controls truncation from this version on."""

Alternatives = dict[str, tuple[tuple[Test, ...], ...]]
"""By the name of a call."""

THREAD = (
    namespaces.CLONE_VM
    | namespaces.CLONE_FS
    | namespaces.CLONE_FILES
    | namespaces.CLONE_SIGHAND
    | namespaces.CLONE_THREAD
)
"""A thread with descriptors of its own would have the limit on open files for itself."""
CLOSE_RANGE_UNSHARE = 2


def rules_for(
    machine: str, *, paths: bool, metadata: bool, landlock_abi: int, exec_files: bool, sealed_later: bool = False
) -> dict[int, Rule]:
    """Return the rules by call number.

    Args:
        machine: `x86_64` or `aarch64`.
        paths: Whether calls that take a path are allowed at all.
        metadata: Whether modes and times of files may be changed.
        landlock_abi: The Landlock version that is on, 0 for none.
        exec_files: Whether files may be mapped as code, as a late import of a C extension does.
        sealed_later: Whether a stricter filter may follow.
    """
    allowed: Alternatives = _always(PLAIN)
    if paths:
        allowed |= _path_rules(landlock_abi)
    else:
        allowed["newfstatat"] = ((Test(3, (AT_EMPTY_PATH,), AT_EMPTY_PATH),),)
    if metadata:
        allowed |= _always(METADATA)
    allowed |= _argument_rules(exec_files=exec_files)
    if sealed_later:
        allowed["seccomp"] = ((Test(0, (SET_MODE_FILTER,)), Test(1, (ALL_THREADS,))),)
    numbers = NUMBERS[machine]
    rules = {numbers[name]: Rule(errno.EPERM, tests) for name, tests in allowed.items() if name in numbers}
    rules |= {numbers[name]: Rule(errno.ENOTSUP) for name in NOT_SUPPORTED.split() if name in numbers}
    return rules | {numbers[name]: Rule(errno.ENOSYS) for name in NOT_KNOWN.split() if name in numbers}


def _always(names: str) -> Alternatives:
    return dict.fromkeys(names.split(), ((),))


def _path_rules(landlock_abi: int) -> Alternatives:
    rules: Alternatives = _always(PATHS + "open openat")
    if landlock_abi >= TRUNCATE_ABI:
        return rules | _always("creat truncate")
    return rules | {"open": ((Test(1, (0,), O_TRUNC),),), "openat": ((Test(2, (0,), O_TRUNC),),)}


def _argument_rules(*, exec_files: bool) -> Alternatives:
    own = (Test(0, (0,)),), (Test(0, (OWN_PID,)),)
    usual_flags = Test(3, (0,), FULL ^ SEND_AND_RECEIVE_FLAGS)
    # Huge pages are those that the machine has set aside for others.
    mmap = ((Test(2, (0,), PROT_EXEC), Test(3, (0,), MAP_HUGETLB)),)
    if exec_files:
        code = Test(2, (PROT_EXEC,), PROT_EXEC | PROT_WRITE), Test(3, (0,), MAP_ANONYMOUS | MAP_SHARED | MAP_HUGETLB)
        mmap = (*mmap, code)
    return {
        "clone": ((Test(0, (THREAD,), THREAD), Test(0, (0,), namespaces.CLONE_ANY_NAMESPACE)),),
        "kill": ((Test(0, (OWN_PID,)),),),
        "tgkill": ((Test(0, (OWN_PID,)),),),
        "getpgid": own,
        "getsid": own,
        "sched_getaffinity": own,
        "sched_getparam": ((Test(0, (0,)),),),
        "sched_getscheduler": ((Test(0, (0,)),),),
        # Reading limits only: the pointer to new ones is null.
        "prlimit64": tuple((*who, Test(2, (0,), wide=True)) for who in own),
        # asyncio needs a pair to wake itself; a datagram pair could send to any abstract name.
        "socketpair": ((Test(0, (AF_UNIX,)), Test(1, (SOCK_STREAM,), SOCK_TYPE_MASK), Test(2, (0,))),),
        # Only over a connection that exists: the address is null.
        "sendto": ((usual_flags, Test(4, (0,), wide=True)),),
        "recvfrom": ((usual_flags,),),
        "futex": ((Test(1, FUTEX_OPERATIONS, FULL ^ FUTEX_FLAGS),),),
        "close_range": ((Test(2, (0,), CLOSE_RANGE_UNSHARE),),),
        "getsockopt": ((Test(1, (SOL_SOCKET,)), Test(2, HARMLESS_SOCKET_OPTIONS)),),
        "ioctl": ((Test(1, HARMLESS_IOCTLS),),),
        "fcntl": ((Test(1, HARMLESS_FCNTLS),),),
        "prctl": ((Test(0, HARMLESS_PRCTLS),),),
        # No memory is ever both written and executed.
        "mmap": mmap,
        "mprotect": ((Test(2, (0,), PROT_EXEC),),),
    }
