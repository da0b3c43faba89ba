"""Level `seatbelt`: one spawned, single-use interpreter for each run, under its own profile. Untested on macOS."""

import asyncio
import os
import socket
from pathlib import Path

from stepwell.errors import SandboxUnavailable, StepwellError
from stepwell.ports.limits import Limits
from stepwell_sandbox import seatbelt
from stepwell_sandbox.link import Machine
from stepwell_sandbox.plain import PlainProcess, PlainStart
from stepwell_sandbox.self_test import ANSWER_S, ask
from stepwell_sandbox.watcher import Bounds, watch

PROBE_ENTRY = "stepwell_sandbox.seatbelt_probes:main"


class SeatbeltStart(PlainStart):
    """Starts processes under `sandbox-exec`, and watches what the kernel does not bound."""

    def __init__(self, machine: Machine, program: str = seatbelt.PROGRAM) -> None:
        super().__init__(machine, seatbelt.NAME)
        self._program = program
        self._profile = seatbelt.profile(machine.interpreter, machine.folder.code)
        self._watches: set[asyncio.Task[None]] = set()

    def command(self, python: tuple[str, ...], scratch: Path) -> tuple[str, ...]:
        """Return the interpreter's command under the profile."""
        return seatbelt.command(self._profile, scratch, python, self._program)

    def explain(self, message: str, said: str) -> str:
        """Return why a process did not start."""
        return f"{message}: {seatbelt.explain(said)}"

    def attend(self, body: PlainProcess, pid: int, scratch: Path, limits: Limits) -> None:
        """Watch its memory and its scratch directory while it lives."""
        bounds = Bounds(limits.memory_bytes, limits.scratch_bytes)
        task = asyncio.create_task(watch(pid, scratch, bounds, body.stop_at))
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)
        body.ended.add_done_callback(lambda _: task.cancel())


async def start_seatbelt(machine: Machine, program: str = seatbelt.PROGRAM) -> SeatbeltStart:
    """Return a start whose processes have proven that they are confined.

    Raises:
        SandboxUnavailable: Seatbelt does not start, or something forbidden worked.
    """
    if not os.access(program, os.X_OK):
        raise SandboxUnavailable(f"there is no {program}")
    try:
        start = SeatbeltStart(machine, program)
    except ValueError as error:
        raise SandboxUnavailable(str(error)) from error
    try:
        async with asyncio.timeout(ANSWER_S):
            found = await _prove(start)
    except (StepwellError, TimeoutError) as error:
        await start.close()
        raise SandboxUnavailable(f"the self-test of Seatbelt did not run: {error}") from error
    if found:
        await start.close()
        raise SandboxUnavailable(f"Seatbelt starts but does not hold: a process could {', '.join(found)}")
    return start


async def _prove(start: SeatbeltStart) -> list[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = await start.spawn_entry(Limits(), lambda: None, PROBE_ENTRY)
        return await ask(process, start.machine.folder, [], port=listener.getsockname()[1])
