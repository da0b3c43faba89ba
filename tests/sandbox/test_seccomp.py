"""The filter's decisions, by interpreting it: also for the processor that the tests do not run on."""

import errno
import re
import struct
from pathlib import Path

import pytest

from stepwell_sandbox.confine import bpf, policy
from stepwell_sandbox.confine.policy import rules_for
from stepwell_sandbox.confine.syscalls import NUMBERS

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PID = 4711
ALLOWED = "allowed"
KILLED = "killed"
REACHING_OUT = """
execve execveat fork vfork unshare setns mount umount2 pivot_root chroot ptrace bpf keyctl add_key perf_event_open
userfaultfd memfd_create socket connect bind listen accept accept4 sendmsg recvmsg setsockopt tkill
process_vm_readv process_vm_writev open_by_handle_at pidfd_open pidfd_getfd pidfd_send_signal seccomp
personality mknodat fchown setrlimit mincore utimensat fchmod
"""
NEWER = {
    "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446, "process_mrelease": 448,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443, "set_mempolicy_home_node": 450, "cachestat": 451,
    "map_shadow_stack": 453, "futex_wake": 454, "futex_wait": 455, "futex_requeue": 456, "statmount": 457,
    "listmount": 458, "lsm_get_self_attr": 459, "lsm_set_self_attr": 460, "lsm_list_modules": 461, "mseal": 462,
    "setxattrat": 463, "getxattrat": 464, "open_tree_attr": 467, "file_getattr": 468, "file_setattr": 469,
}  # fmt: skip
"""Calls since Linux 5.2, which have one number everywhere."""
HEADERS = {
    "x86_64": (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")),
    "aarch64": (Path("/usr/include/asm-generic/unistd.h"),),
}
OTHER_NAMES = {"newfstatat": "fstatat"}
"""What the generic header calls them."""
every_machine = pytest.mark.parametrize("machine", NUMBERS)


def program(
    machine: str, *, paths: bool = True, metadata: bool = False, abi: int = 7, exec_files: bool = False
) -> bytes:
    rules = rules_for(machine, paths=paths, metadata=metadata, landlock_abi=abi, exec_files=exec_files)
    compiled = bpf.compile_rules(rules, architecture=ARCHITECTURES[machine], x32=machine == "x86_64", errno=errno.EPERM)
    return compiled.for_process(PID)


def decide(code: bytes, machine: str, number: int, *arguments: int, architecture: int | None = None) -> str:
    """Run the filter on one call and say what the kernel would do."""
    values = [value & (1 << 64) - 1 for value in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number, architecture or ARCHITECTURES[machine], 0, *values)
    accumulator = at = 0
    while True:
        operation, yes, no, value = struct.unpack_from("=HBBI", code, at * 8)
        at += 1
        match operation:
            case bpf.LOAD:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case bpf.AND:
                accumulator &= value
            case bpf.JUMP:
                at += value
            case bpf.JUMP_EQUAL:
                at += yes if accumulator == value else no
            case bpf.JUMP_AT_LEAST:
                at += yes if accumulator >= value else no
            case _:
                return _verdict(value)


def _verdict(value: int) -> str:
    if value == bpf.ALLOW:
        return ALLOWED
    if value == bpf.KILL:
        return KILLED
    return errno.errorcode[value & 0xFFFF]


@every_machine
def test_every_call_is_decided_and_most_are_refused(machine: str) -> None:
    code = program(machine)
    verdicts = {number: decide(code, machine, number) for number in range(600)}
    assert set(verdicts.values()) == {ALLOWED, "EPERM", "ENOSYS", "ENOTSUP"}
    assert sum(verdict == ALLOWED for verdict in verdicts.values()) < 170


@every_machine
@pytest.mark.parametrize("name", REACHING_OUT.split())
def test_what_reaches_out_is_refused(name: str, machine: str) -> None:
    if name in NUMBERS[machine]:
        assert decide(program(machine), machine, NUMBERS[machine][name]) == "EPERM"


@every_machine
@pytest.mark.parametrize("paths", [True, False])
def test_only_calls_that_the_policy_names_can_be_allowed(paths: bool, machine: str) -> None:
    code = program(machine, paths=paths, metadata=True, abi=7 if paths else 0, exec_files=True)
    named = set(policy.PLAIN.split()) | set(policy.PATHS.split() if paths else ()) | set(policy.METADATA.split())
    names = {number: name for name, number in NUMBERS[machine].items()}
    allowed = {names.get(n, str(n)) for n in range(2000) if decide(code, machine, n) == ALLOWED}
    by_arguments = {"getpgid", "getsid", "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sendto",
                    "recvfrom", "prlimit64", "fcntl", "futex", "mmap", "mprotect", "close_range"}  # fmt: skip
    by_path = {"open", "openat", "creat", "truncate"} if paths else set[str]()
    assert allowed <= named | by_arguments | by_path
    assert named & set(NUMBERS[machine]) <= allowed


@every_machine
def test_calls_that_came_later_are_refused(machine: str) -> None:
    code = program(machine, metadata=True, exec_files=True)
    assert {name for name, number in NEWER.items() if decide(code, machine, number) != "EPERM"} == set()


@every_machine
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = next((path for path in HEADERS[machine] if path.exists()), None)
    if header is None:
        pytest.skip("no kernel headers (linux-libc-dev)")
    found = {
        name: int(number)
        for name, number in re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text(), re.MULTILINE)
    }
    found.pop("syscalls", None)  # their count
    newest = max(found.values())
    ours = {OTHER_NAMES.get(name, name) if machine == "aarch64" else name: n for name, n in NUMBERS[machine].items()}
    assert {name: (n, found.get(name)) for name, n in ours.items() if n <= newest and found.get(name) != n} == {}
    assert {name: n for name, n in NEWER.items() if n <= newest and found.get(name) != n} == {}


@every_machine
@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("kill", [(PID, 9)], [(1, 9), (0, 9), (-1, 9), (PID + 1, 0)]),
        ("tgkill", [(PID, 5, 6)], [(5, PID, 6)]),
        (
            "sendto",
            [(5, 1, 1, 0, 0, 0), (5, 1, 1, 0x4040)],
            [(5, 1, 1, 0, 1, 16), (5, 1, 1, 0, 1 << 32, 16), (5, 1, 1, 1)],
        ),
        ("recvfrom", [(5, 1, 1, 0), (5, 1, 1, 0x142)], [(5, 1, 1, 1), (5, 1, 1, 0x2001), (5, 1, 1, 0x40000000)]),
        ("futex", [(1, 0), (1, 0x80), (1, 0x189), (1, 0x84)], [(1, op | 0x80) for op in (2, 6, 7, 8, 11, 12, 13)]),
        ("close_range", [(4, 9, 0), (4, 9, 4)], [(4, 9, 2), (4, 9, 6)]),
        ("socketpair", [(1, 1, 0), (1, 1 | 0o2004000, 0)], [(1, 2, 0), (1, 5, 0), (2, 1, 0), (16, 3, 0), (1, 1, 6)]),
        ("prlimit64", [(0, 7, 0, 1), (PID, 7, 0, 1)], [(0, 7, 1, 0), (0, 7, 1 << 40, 0), (1, 7, 0, 1)]),
        ("getsockopt", [(3, 1, 3), (3, 1, 4), (3, 1, 39)], [(3, 1, 17), (3, 1, 77), (3, 1, 31), (3, 6, 3), (3, 0, 4)]),
        ("ioctl", [(1, 0x5401), (1, 0x541B)], [(1, 0x5412), (1, 0x8901), (1, 0x40086602)]),
        ("fcntl", [(3, 1), (3, 3), (3, 4, 0x800)], [(3, 8, 1), (3, 10, 9), (3, 15), (3, 1024), (3, 1033)]),
        ("prctl", [(15,), (39,)], [(1, 0), (4, 1), (22, 2), (36,), (38, 1), (8,), (24, 0)]),
        ("mprotect", [(0, 1, 3)], [(0, 1, 4), (0, 1, 7)]),
        ("mmap", [(0, 1, 3, 0x22)], [(0, 1, 7, 0x22), (0, 1, 5, 0x2), (0, 1, 4, 0x1), (0, 1, 3, 0x40022)]),
        (
            "clone",
            [(0x3D0F00,)],
            [(17,), (0x10000000,), (0x3D0F00 | 0x20000000,), (0x100,), (0,), (0x3D0B00,), (0x3D0D00,)],
        ),
    ],
)
def test_arguments_decide(name: str, good: list[tuple[int, ...]], bad: list[tuple[int, ...]], machine: str) -> None:
    code, number = program(machine), NUMBERS[machine][name]
    assert [decide(code, machine, number, *arguments) for arguments in good] == [ALLOWED] * len(good)
    assert [decide(code, machine, number, *arguments) for arguments in bad] == ["EPERM"] * len(bad)


@every_machine
def test_files_may_be_code_only_where_it_is_said(machine: str) -> None:
    number = NUMBERS[machine]["mmap"]
    code = program(machine, exec_files=True)
    assert decide(code, machine, number, 0, 1, 5, 0x2) == ALLOWED
    assert decide(code, machine, number, 0, 1, 7, 0x22) == "EPERM"
    assert decide(code, machine, number, 0, 1, 5, 0x1) == "EPERM"
    assert decide(code, machine, number, 0, 1, 7, 0x2) == "EPERM"


@every_machine
def test_without_paths_nothing_can_be_opened(machine: str) -> None:
    code = program(machine, paths=False, abi=0)
    for name in ("openat", "statx", "faccessat", "mkdirat", "unlinkat", "chdir", "getcwd", "readlinkat", "truncate"):
        assert decide(code, machine, NUMBERS[machine][name]) == "EPERM"
    assert decide(code, machine, NUMBERS[machine]["newfstatat"], 3, 0, 0, 0x1000) == ALLOWED
    assert decide(code, machine, NUMBERS[machine]["newfstatat"], 3, 0, 0, 0) == "EPERM"


@every_machine
def test_an_old_landlock_allows_no_truncation(machine: str) -> None:
    code = program(machine, abi=2)
    assert decide(code, machine, NUMBERS[machine]["openat"], -100, 0, 0o1000 | 1) == "EPERM"
    assert decide(code, machine, NUMBERS[machine]["openat"], -100, 0, 1) == ALLOWED
    assert decide(code, machine, NUMBERS[machine]["truncate"]) == "EPERM"


@every_machine
@pytest.mark.parametrize("number", [0, 1, 63, 101, 435])
def test_another_processors_calls_kill(number: int, machine: str) -> None:
    others = {"x86_64": 0xC000003E, "i386": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028, "riscv64": 0xC00000F3}
    code = program(machine)
    for architecture in others.values():
        killed = architecture != ARCHITECTURES[machine]
        assert (decide(code, machine, number, architecture=architecture) == KILLED) is killed


def test_the_x32_interface_kills() -> None:
    code = program("x86_64")
    assert decide(code, "x86_64", 0x40000000) == KILLED
    assert decide(code, "x86_64", 0x40000000 | 63) == KILLED
    assert decide(code, "x86_64", 0xFFFFFFFF) == KILLED
