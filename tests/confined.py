"""Runs of hostile sources in real confined processes, for the tests of the sandbox."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from stepwell.errors import RunError, SandboxUnavailable
from stepwell.ports.frames import Call, Done, Failed, GuestFrame, Log, Outcome, Start
from stepwell.ports.limits import Limits
from stepwell.ports.sandbox import Exit
from stepwell_sandbox.interpreter import find_interpreter
from stepwell_sandbox.launch import LEVELS
from stepwell_sandbox.levels import start_proven
from stepwell_sandbox.link import Link, Machine
from stepwell_sandbox.plain import PlainStart
from stepwell_sandbox.process import ConfinedProcess
from stepwell_sandbox.scratch import Folder

RAW_GUEST = Path(__file__).parent / "sandbox" / "guests" / "raw_guest.py"
RAW_ENTRY = "raw_guest:main"
LEVEL_NAMES = tuple(LEVELS)
SHARED = "stepwell-shared-by-tests-"
"""In the command line of the first process of the sandbox that tests share: its folder."""

Answer = Callable[[Call], Awaitable[Outcome]]


@dataclass
class Ran:
    """What came of one run."""

    value: Any = None
    error: Failed | None = None
    refusal: RunError | None = None
    frames: list[GuestFrame] = field(default_factory=list[GuestFrame])
    exit: Exit | None = None

    @property
    def printed(self) -> str:
        """All that was printed and logged."""
        return "".join(frame.text for frame in self.frames if isinstance(frame, Log))


def names_in(folder: Path) -> list[str]:
    """Return what a folder holds."""
    return sorted(path.name for path in folder.iterdir())


def with_our_code() -> dict[str, str]:
    """Return an environment in which a Python program can import what this one can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def is_shared(pid: int) -> bool:
    """Say whether a child of this process is of the sandbox that tests share."""
    try:
        return SHARED.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False  # it has died


def descendants(pid: int) -> list[int]:
    """Return all processes below one, each before its own children, without servers that other tests have started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in _children(task):
            with suppress(FileNotFoundError):  # it has died
                if b"stepwell_server" in Path(f"/proc/{child}/cmdline").read_bytes() or is_shared(child):
                    continue
                found += [child, *descendants(child)]
    return found


def _children(task: Path) -> list[int]:
    try:
        return [int(pid) for pid in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []  # the thread has ended, or its process


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something in another process that has no event. Bound it with a timeout."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def start_frame(source: str, **inputs: object) -> Start:
    """Return the frame that gives a source to a guest."""
    return Start("run", "test", source, "run", "function", msgspec.Raw(msgspec.json.encode(inputs)), "seed", 0.0, 1)


@asynccontextmanager
async def confined(level: str, tmp_path: Path) -> AsyncGenerator[Link]:
    """Start a zygote at exactly this level, or skip the test where the machine cannot."""
    import pytest  # the matrix of isolation has interpreters without it

    folder = Folder(tmp_path, (RAW_GUEST,))
    try:
        try:
            link = await start_proven(LEVELS[level], Machine(find_interpreter(), folder, RAW_ENTRY))
        except SandboxUnavailable as error:
            pytest.skip(f"level {level} cannot be had here: {error}")
        try:
            yield link
        finally:
            await link.close()
    finally:
        folder.remove()


async def run(
    link: Link | PlainStart, source: str, limits: Limits | None = None, answer: Answer | None = None, **inputs: object
) -> Ran:
    """Run a source that defines `run(**inputs)` in a new process to its end."""
    process = await link.spawn(limits or Limits(), lambda: None)
    return await drive(process, source, answer, **inputs)


async def drive(process: ConfinedProcess, source: str, answer: Answer | None = None, **inputs: object) -> Ran:
    """Give a ready process its source, answer its calls, and close it."""
    ran = Ran()
    answers: list[asyncio.Task[None]] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            await process.send(start_frame(source, **inputs))
            try:
                while ran.value is None and ran.error is None and (frames := await process.receive()):
                    ran.frames += frames
                    for frame in frames:
                        if isinstance(frame, Call):
                            answers.append(tasks.create_task(_answer(process, frame, answer)))
                        elif isinstance(frame, Done):
                            ran.value = msgspec.json.decode(frame.value)
                        elif isinstance(frame, Failed):
                            ran.error = frame
            except RunError as error:
                ran.refusal = error
            ran.exit = await process.close()
            for task in answers:
                task.cancel()
    finally:
        await process.close()
    return ran


async def _answer(process: ConfinedProcess, call: Call, answer: Answer | None) -> None:
    if answer is None:
        await process.send(Outcome(call.id, 0.0, value=msgspec.Raw(b"null")))
    else:
        await process.send(await answer(call))
