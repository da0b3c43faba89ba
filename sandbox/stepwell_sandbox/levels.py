"""The ladder of isolation: the strongest level that starts, and that proves what it promises."""

import asyncio
import os
import sys
from dataclasses import dataclass

from stepwell.errors import ConfigError, SandboxUnavailable, StepwellError
from stepwell.ports.limits import Limits
from stepwell_sandbox import plain, seatbelt
from stepwell_sandbox.facts import Facts, read_facts
from stepwell_sandbox.launch import LEVELS, Level, code_path, drops_root
from stepwell_sandbox.link import PROBE, Link, Machine
from stepwell_sandbox.plain import PlainStart
from stepwell_sandbox.process import DiedEarly
from stepwell_sandbox.report import Report, describe
from stepwell_sandbox.scratch import Folder
from stepwell_sandbox.seatbelt_start import start_seatbelt
from stepwell_sandbox.self_test import ANSWER_S, ask

NAMES = (*LEVELS, plain.NAME)
"""Strongest first. C and `none` are used only when they are named."""
STARTS = 3


class _NotTested(SandboxUnavailable):
    """The self-test came to no result; its process may have been killed."""


@dataclass(frozen=True, slots=True)
class Found:
    """The chosen level, and what an operator should know about it."""

    level: Level | None
    """None: processes without a zygote, under Seatbelt or plain, as the report says."""
    report: Report


async def start_again(found: Found, machine: Machine) -> Link | PlainStart:
    """Start the level that was found before.

    Raises:
        SandboxUnavailable: it does not start or hold any more.
    """
    if found.level is not None:
        return await start_proven(found.level, machine)
    return await start_seatbelt(machine) if found.report.level == seatbelt.NAME else PlainStart(machine)


async def choose(minimum: str, machine: Machine) -> tuple[Found, Link | PlainStart]:
    """Start the strongest level that is at least `minimum` and return it with its start.

    Raises:
        ConfigError: there is no level of that name.
        SandboxUnavailable: none of them can be enforced here; the hint says how to mend that.
    """
    report, link = await climb(minimum, machine)
    if isinstance(link, Link):
        return Found(link.level, report), link
    if link is not None:
        return Found(None, report), link
    if minimum == plain.NAME:
        return Found(None, report), PlainStart(machine)
    raise SandboxUnavailable(report.refusal, hint=report.hint)


async def climb(minimum: str, machine: Machine) -> tuple[Report, Link | PlainStart | None]:
    """Try the levels from the strongest down to `minimum`.

    Raises:
        ConfigError: there is no level of that name.
    """
    if minimum not in NAMES:
        raise ConfigError(f"there is no isolation level {minimum!r}", hint=f"Use one of {', '.join(NAMES)}.")
    facts = await asyncio.to_thread(read_facts, landlock_abi())
    refused: list[tuple[str, str]] = []
    if facts.system == "darwin":
        return await _climb_macos(minimum, machine, facts)
    link: Link | None = None
    for level in LEVELS.values():
        try:
            link = await start_proven(level, machine)
            break
        except DiedEarly:
            raise  # says nothing about the level: a weaker one must not be taken for it
        except SandboxUnavailable as error:
            refused.append((level.name, error.message))
        if level.name == minimum:
            break
    reached = link.level.name if link else plain.NAME if minimum == plain.NAME else ""
    return describe(minimum, reached, facts, tuple(refused), _warnings(reached, machine, facts)), link


async def _climb_macos(minimum: str, machine: Machine, facts: Facts) -> tuple[Report, PlainStart | None]:
    why = f"macOS has {seatbelt.NAME} alone, which counts as B"
    if minimum in seatbelt.ACCEPTED_FOR:
        try:
            start = await start_seatbelt(machine)
        except SandboxUnavailable as error:
            why = error.message
        else:
            warnings = ("Seatbelt is used as documented and was never tried with Stepwell on a Mac",)
            return describe(minimum, seatbelt.NAME, facts, (("A", why),), warnings), start
    reached = plain.NAME if minimum == plain.NAME else ""
    return describe(minimum, reached, facts, ((seatbelt.NAME, why),), _warnings(reached, machine, facts)), None


def _warnings(reached: str, machine: Machine, facts: Facts) -> tuple[str, ...]:
    if reached == plain.NAME:
        return ("workflows are NOT isolated: they can read and change what this user can; level none was asked for",)
    found: list[str] = []
    if os.getuid() == 0 and not drops_root(machine.interpreter, machine.folder):
        why = f"{machine.interpreter.executable} cannot be read by other users"
        found.append(
            f"workflows keep user id 0, for whom the kernel has no thread limit, because {why}; do not run as root"
        )
    level, program = LEVELS.get(reached), facts.bubblewrap
    if level and level.bubblewrap and program and program.warning:
        found.append(program.warning)
    return tuple(found)


def landlock_abi() -> int:
    """Return the kernel's Landlock version, 0 for none."""
    if sys.platform != "linux":
        return 0
    from stepwell_sandbox.confine import landlock  # noqa: PLC0415 - exists on Linux alone

    return landlock.abi()


async def start_proven(level: Level, machine: Machine) -> Link:
    """Start a zygote and let a real child of it try what must fail; one that is killed meanwhile is started again.

    Raises:
        SandboxUnavailable: it does not start, or something forbidden worked; `DiedEarly` if it is killed each time.
    """
    for _ in range(STARTS - 1):
        try:
            return await _start_once(level, machine)
        except (DiedEarly, _NotTested):
            continue
    return await _start_once(level, machine)


async def _start_once(level: Level, machine: Machine) -> Link:
    if sys.platform != "linux":
        raise SandboxUnavailable(f"level {level.name} needs Linux")
    link = await Link.start(level, machine)
    try:
        async with asyncio.timeout(ANSWER_S):
            found = await prove(link, machine.folder)
    except (StepwellError, TimeoutError) as error:
        await link.close()
        if link.killed:
            raise DiedEarly(f"the zygote of level {level.name} was killed in its self-test") from error
        raise _NotTested(f"the self-test of level {level.name} did not run: {error}") from error
    except BaseException:
        await link.close()
        raise
    if found:
        await link.close()
        raise SandboxUnavailable(f"level {level.name} starts but does not hold: a process could {', '.join(found)}")
    return link


async def prove(link: Link, folder: Folder) -> list[str]:
    """Return what a confined child of this zygote could do and must not."""
    process = await link.spawn(Limits(), lambda: None, PROBE)
    return await ask(process, folder, [f"{code_path(link.level, folder)}/stepwell_sandbox/zygote.py"])
