"""A compiler from system call rules to the kernel's packet filter language."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

LOAD, JUMP, JUMP_EQUAL, JUMP_AT_LEAST, AND, RETURN = 0x20, 0x05, 0x15, 0x35, 0x54, 0x06
KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
X32 = 0x40000000
"""Numbers from here on are the x32 interface of x86-64, which has other arguments."""
MAX_INSTRUCTIONS = 4096
MAX_JUMP = 255
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
FULL = 0xFFFFFFFF

OWN_PID = -1
"""In a value: the process that installs the filter, known only then."""

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Test:
    """A condition on one argument of a call."""

    argument: int
    values: tuple[int, ...]
    """It is one of these, in its low 32 bits."""
    mask: int = FULL
    """Bits that are looked at."""
    wide: bool = False
    """Its high 32 bits are zero too: for pointers."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Allow a call if all tests of any one alternative hold; otherwise it fails with `errno`."""

    errno: int
    alternatives: tuple[tuple[Test, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """A filter, and where the process id belongs in it."""

    code: bytes
    pid_offsets: tuple[int, ...]

    def for_process(self, pid: int) -> bytes:
        """Return the filter for process `pid`."""
        code = bytearray(self.code)
        for offset in self.pid_offsets:
            struct.pack_into("=I", code, offset, pid)
        return bytes(code)


def compile_rules(rules: Mapping[int, Rule], *, architecture: int, x32: bool, errno: int) -> Program:
    """Return a filter that answers `errno` to every call without a rule and kills on another architecture.

    The numbers are searched as a balanced tree: the kernel runs the filter once for each call number when
    it is installed, which costs a linear filter of this size twice the time.
    """
    out: list[Instruction] = [
        (LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    if x32:
        out += [(JUMP_AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL)]
    out += _tree(_ranges(rules, [(RETURN, 0, 0, ERRNO | errno)]))
    if len(out) > MAX_INSTRUCTIONS:
        raise ValueError(f"the filter has {len(out)} instructions, more than {MAX_INSTRUCTIONS}")
    offsets = tuple(index * 8 + 4 for index, instruction in enumerate(out) if instruction[3] == OWN_PID)
    code = b"".join(struct.pack("=HBBI", op, yes, no, value & FULL) for op, yes, no, value in out)
    return Program(code, offsets)


def _ranges(rules: Mapping[int, Rule], otherwise: list[Instruction]) -> list[tuple[int, list[Instruction]]]:
    """Return the first number and the code of each range of numbers, in order and without gaps."""
    ranges: list[tuple[int, list[Instruction]]] = []
    following = 0
    for number in sorted(rules):
        if number > following:
            ranges.append((following, otherwise))
        code = _body(rules[number])
        if not ranges or ranges[-1][1] != code or len(code) > 1:
            ranges.append((number, code))
        following = number + 1
    ranges.append((following, otherwise))
    return ranges


def _tree(ranges: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    if len(ranges) == 1:
        return list(ranges[0][1])
    middle = len(ranges) // 2
    left, right = _tree(ranges[:middle]), _tree(ranges[middle:])
    first = ranges[middle][0]
    if len(left) <= MAX_JUMP:
        return [(JUMP_AT_LEAST, len(left), 0, first), *left, *right]
    return [(JUMP_AT_LEAST, 0, 1, first), (JUMP, 0, 0, len(left)), *left, *right]


def _body(rule: Rule) -> list[Instruction]:
    refuse: Instruction = (RETURN, 0, 0, ERRNO | rule.errno)
    if rule.alternatives == ((),):
        return [(RETURN, 0, 0, ALLOW)]
    return [*(step for tests in rule.alternatives for step in _alternative(tests)), refuse]


def _alternative(tests: tuple[Test, ...]) -> list[Instruction]:
    """Return code that allows if every test holds and else goes on behind its own end."""
    steps: list[tuple[Instruction, bool]] = []
    for test in tests:
        offset = _ARGUMENTS_OFFSET + 8 * test.argument
        steps.append(((LOAD, 0, 0, offset), False))
        if test.mask != FULL:
            steps.append(((AND, 0, 0, test.mask), False))
        *others, last = test.values
        steps += [((JUMP_EQUAL, len(others) - at, 0, value), False) for at, value in enumerate(others)]
        steps.append(((JUMP_EQUAL, 0, 0, last), True))
        if test.wide:
            steps += [((LOAD, 0, 0, offset + 4), False), ((JUMP_EQUAL, 0, 0, 0), True)]
    end = len(steps)
    code = [
        (op, yes, end - at, value) if decides else (op, yes, no, value)
        for at, ((op, yes, no, value), decides) in enumerate(steps)
    ]
    return [*code, (RETURN, 0, 0, ALLOW)]
